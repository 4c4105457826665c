"""Addresses of language model servers: what is one, and what of it may be shown."""

from urllib.parse import parse_qsl, urlsplit, urlunsplit

from duologue.core.errors import EngineUnavailable

_LOCAL = ("127.0.0.1", "::1", "localhost")


def checked(url: str) -> str:
    """The address, with the usual path if it has none.

    Raises:
        EngineUnavailable: it is none.
    """
    if not url:
        raise EngineUnavailable(
            "llm_url_missing",
            "No language model can be asked: no address was given.",
            remedy="Give one, like http://127.0.0.1:11434/v1.",
        )
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
        parts = urlsplit("")
    if not is_address:
        raise EngineUnavailable(
            "llm_url_invalid",
            "The address of the language model server is none.",
            remedy="It should look like http://127.0.0.1:11434/v1.",
        )
    return urlunsplit(parts._replace(path="/v1")) if parts.path in ("", "/") else url


def shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def secrets(url: str) -> tuple[str, ...]:
    """What must not be repeated of an address."""
    parts = urlsplit(url)
    return (parts.password or "", *(value for _, value in parse_qsl(parts.query)))


def is_local(url: str) -> bool:
    """Whether it is on this machine."""
    return urlsplit(url).hostname in _LOCAL
