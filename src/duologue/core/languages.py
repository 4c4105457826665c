"""Languages: their tags as clients and models write them, OpenAI's names of them, and who knows which."""

import re
from collections.abc import Iterable

from duologue.core.capabilities import Capabilities

_NAMES = dict(
    pair.split("=")
    for pair in (
        "af=afrikaans ar=arabic az=azerbaijani be=belarusian bg=bulgarian bs=bosnian ca=catalan cs=czech "
        "cy=welsh da=danish de=german el=greek en=english es=spanish et=estonian fa=persian fi=finnish "
        "fr=french gl=galician he=hebrew hi=hindi hr=croatian hu=hungarian hy=armenian id=indonesian "
        "is=icelandic it=italian ja=japanese kk=kazakh kn=kannada ko=korean lt=lithuanian lv=latvian "
        "mi=maori mk=macedonian mr=marathi ms=malay ne=nepali nl=dutch no=norwegian pl=polish "
        "pt=portuguese ro=romanian ru=russian sk=slovak sl=slovenian sr=serbian sv=swedish sw=swahili "
        "ta=tamil th=thai tl=tagalog tr=turkish uk=ukrainian ur=urdu vi=vietnamese zh=chinese"
    ).split()
)
_CODES = {name: code for code, name in _NAMES.items()}
_CODE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*", re.IGNORECASE)

UNKNOWN = "unknown"


def family(tag: str) -> str:
    """The language of a tag without its region: "en" of "en-GB" and of "EN_us"; empty of an empty one."""
    return tag.lower().replace("_", "-").partition("-")[0]


def knows(capabilities: Capabilities, language: str) -> bool:
    """Whether an engine can be asked for a language: it says so, or that it takes any, or none is named."""
    wanted = family(language)
    known = capabilities.languages
    return not wanted or "*" in known or wanted in map(family, known)


def is_lacking(chain: Iterable[Capabilities], language: str) -> bool:
    """Whether none of the engines of a role knows a language. Where there are none, nothing is lacking but they."""
    known = list(chain)
    return bool(known) and not any(knows(each, language) for each in known)


def code_of(text: str) -> str | None:
    """A language as a client names it; None if it is no language's name."""
    name = text.strip()
    if name.lower() in _CODES:
        return _CODES[name.lower()]
    return name if not name or _CODE.fullmatch(name) else None


def name_of(code: str) -> str:
    """A language as OpenAI shows it; an unfamiliar one by its code."""
    base = re.split("[-_]", code.lower())[0]
    return _NAMES.get(base, base) or UNKNOWN
