"""What stands behind the name of a remote engine: where it is, which model, and settings of its own.

    URL|MODEL[?key=value&key=value]     an OpenAI-compatible server
    ws://HOST:PORT[?key=value]          a server of one model

A key to the server is never written here, for engines' names are logged and shown: see `keys`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from duologue.core.capabilities import Role
from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.chat.address import is_local, secrets, shown
from duologue.engines.remote.errors import AudioServer
from duologue.engines.remote.keys import key_for

MAX_STREAMS = 32
"""Streams of one remote engine unless `streams` says otherwise, and so what a server may have of us at a time."""


@dataclass(frozen=True, slots=True)
class Place:
    """A model on somebody's server.

    Attributes:
        url: checked, without a slash at its end.
        model: empty for the server's own choice.
        options: the settings that were written, percent-decoded.
    """

    role: Role
    url: str
    model: str
    options: dict[str, str]

    @property
    def key(self) -> str:
        """What opens the server; empty if nothing is known to."""
        return key_for(self.url)

    @property
    def server(self) -> AudioServer:
        """For messages."""
        hidden = (self.key, *secrets(self.url))
        return AudioServer(shown(self.url), self.model, hidden, self.role)

    @property
    def is_local(self) -> bool:
        """It is on this machine, to which no proxy leads."""
        return is_local(self.url)

    def number(self, key: str, default: float) -> float:
        """A setting above zero.

        Raises:
            SetupError: it is none.
        """
        text = self.options.get(key, "")
        try:
            value = float(text or default)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise SetupError(
                "remote_option_invalid",
                f"'{key}={text}' of a {self.role} engine is no number above zero.",
                remedy=f"Leave it out for {default:g}.",
            )
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """A setting that is true or false.

        Raises:
            SetupError: it is neither.
        """
        text = self.options.get(key, "").lower()
        if text not in ("", "true", "false"):
            raise SetupError(
                "remote_option_invalid",
                f"'{key}={text}' of a {self.role} engine is neither true nor false.",
                remedy=f"Leave it out for {str(default).lower()}.",
            )
        return text == "true" if text else default

    @property
    def streams(self) -> int:
        """How many streams are open at a time."""
        return max(1, int(self.number("streams", MAX_STREAMS)))


def parse(argument: str, role: Role, known: Iterable[str], *, default_url: str = "") -> Place:
    """Read an engine's argument.

    Args:
        known: the settings that the engine has, beside `streams`.
        default_url: for an argument that names none.

    Raises:
        SetupError: a setting that the engine does not have.
        EngineUnavailable: the address is none.
    """
    if "|" in argument:
        url, _, rest = argument.partition("|")
        model, _, options = rest.partition("?")
    else:
        url, _, options = argument.partition("?")
        model = ""
    url = url.strip() or default_url
    return Place(role, _checked(url, role), model.strip(), _options(options, role, known))


def _options(text: str, role: Role, known: Iterable[str]) -> dict[str, str]:
    names = (*known, "streams")
    found = {}
    for part in filter(None, text.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key not in names:
            raise SetupError(
                "remote_option_unknown",
                f"A {role} engine of this kind has no setting '{key}'.",
                remedy=f"It has: {', '.join(names)}; each as name=value, joined by '&'.",
            )
        found[key] = unquote(value)
    return found


def _checked(url: str, role: Role) -> str:
    example = "http://127.0.0.1:8000/v1"
    if not url:
        raise EngineUnavailable(
            f"{role}_url_missing",
            f"The {role} engine is on another server, but no address was given.",
            remedy=f"Give one, like {example}.",
        )
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in ("http", "https", "ws", "wss")
        is_address = is_known and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address, parts = False, urlsplit("")
    if not is_address:
        raise EngineUnavailable(
            f"{role}_url_invalid",
            f"The address of the {role} engine is none.",
            remedy=f"It should look like {example}.",
        )
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))
