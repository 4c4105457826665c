"""Languages by the names that OpenAI's `verbose_json` gives them."""

import re

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
