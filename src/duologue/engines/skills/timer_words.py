"""What is said about timers: which kind of wish it is, which timer is meant, what it is for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from duologue.engines.skills.durations import find_duration, say_duration
from duologue.engines.skills.numbers import SOUND_ALIKE, Words, is_number_word
from duologue.engines.skills.timers import Timer

LABEL_WORDS = 20
"""Words of a reminder that are kept."""

_TIMERS = frozenset("timer timers alarm alarms countdown reminder reminders remind".split())
_REMINDERS = frozenset("remind reminder wake alert notify".split())
_SETTING = frozenset("set said sit start make create put begin new".split())
_CANCELLING = frozenset("cancel stop delete remove clear kill forget end drop never".split())
_CHANGING = frozenset("add extend pause resume restart snooze change move shorten lengthen".split())
_ASKING = frozenset("how what which list show check is are when".split())
_ALL = frozenset("all every everything both timers alarms reminders".split())
_CLOCK = frozenset(
    "alarm at clock am pm noon midnight tomorrow tonight morning evening afternoon".split()
)
_ALLOWED = frozenset(
    "a an the timer timers alarm alarms countdown for to in of on up my me i us need want with that lasts lasting "
    "count down from now another one time it be is at and named called go going".split()
)
_SET_ALLOWED = _ALLOWED | _SETTING | SOUND_ALIKE.keys()
_LIST_ALLOWED = (
    _ALLOWED
    | _ASKING
    | frozenset(
        "much many long do does you have any there running left remaining still longer more set active reminder "
        "reminders today".split()
    )
)
_CANCEL_ALLOWED = (
    _ALLOWED
    | _CANCELLING
    | _ALL
    | frozenset("turn switch off mind reminder reminders take back running those".split())
)
_LEFT = re.compile(
    r"\btime (?:is |do i have )?(?:left|remaining)\b|^how (?:much longer|long(?: is)? left)$"
)
_LENGTHS = frozenset("second minute hour half".split())
_PERSONS = {
    "my": "your", "me": "you", "i": "you", "mine": "yours", "myself": "yourself", "am": "are", "our": "your",
}  # fmt: skip
_LEADS_TO = {"to": "to", "two": "to", "too": "to", "that": "that", "about": "about", "of": "about"}
_PREPOSITIONS = frozenset((*SOUND_ALIKE, "four", "two", "in", "after"))


class Kind(Enum):
    """What is wanted of timers."""

    SET = auto()
    CANCEL = auto()
    CHANGE = auto()
    LIST = auto()


@dataclass(frozen=True, slots=True)
class Wish:
    """A timer that is asked for.

    Attributes:
        label: in the user's words: "tea", or "to take my tea out".
    """

    seconds: int
    label: str
    is_reminder: bool

    @property
    def words(self) -> str:
        """The command for it."""
        long = say_duration(self.seconds)
        if self.is_reminder:
            return f"remind me in {long} {self.label}".rstrip()
        return f"set a timer for {long}" + (f" called {self.label}" if self.label else "")


def kind_of(words: Words) -> Kind:
    """Which kind of wish it would be, if it is one."""
    opening = set(words[:2])
    has_timer = bool(_TIMERS & set(words))
    if has_timer and words[0] in _CHANGING:
        return Kind.CHANGE
    is_turned_off = words[0] in ("turn", "switch") and "off" in words
    if has_timer and (_CANCELLING & opening or is_turned_off):
        return Kind.CANCEL
    if _LEFT.search(" ".join(words)) or (has_timer and words[0] in _ASKING):
        return Kind.LIST
    return Kind.SET


def is_about_timers(words: Words) -> bool:
    """Whether a timer or something like it is named, or a reminder is asked for."""
    return bool(_TIMERS & set(words)) or is_reminder(words)


def is_reminder(words: Words) -> bool:
    """Whether it asks to be reminded or woken; that may stand behind the length of time."""
    found = find_duration(words)
    behind = words[found[1][1] :][:1] if found else ()
    return bool(_REMINDERS & {*words[:3], *behind})


def is_setting(words: Words) -> bool:
    """Whether something is to be set or started."""
    return bool(_SETTING & set(words))


def is_bare(words: Words) -> bool:
    """Whether nothing but a timer is asked for, without its length."""
    return all(w in _SET_ALLOWED for w in words)


def is_by_clock(words: Words) -> bool:
    """Whether a time of day is meant, or may be: alarms are set by the clock."""
    return bool(_CLOCK & set(words))


def is_cancelling(words: Words) -> bool:
    """Whether a word of it cancels."""
    return bool(_CANCELLING & set(words))


def not_of_lists(words: Words) -> list[str]:
    """Words that have nothing to do with asking after timers."""
    return [w for w in words if w not in _LIST_ALLOWED]


def not_of_choices(words: Words, timers: Sequence[Timer]) -> list[str]:
    """Words that have nothing to do with cancelling one of these timers."""
    known = _LENGTHS | {_stem(w) for timer in timers for w in timer.label.split()}
    return [
        w
        for w in words
        if w not in _CANCEL_ALLOWED and _stem(w) not in known and not is_number_word(w)
    ]


def chosen(words: Words, timers: list[Timer]) -> tuple[list[Timer], bool]:
    """The timers that fit what was said of their length, purpose or kind; and whether all of them are meant."""
    if _ALL & set(words):
        return timers, True
    found = find_duration(words)
    if found is not None:
        return [t for t in timers if t.seconds == found[0]], False
    said = {_stem(w) for w in words if w not in _CANCEL_ALLOWED}
    by_label = [t for t in timers if said & {_stem(w) for w in t.label.split()}]
    kinds = {"reminder": True, "remind": True, "timer": False}
    of_kind = [t for t in timers if any(kinds.get(w) is t.is_reminder for w in words)]
    return by_label or of_kind or timers, False


def without_preposition(before: Words) -> Words:
    """Without the "for" or "in" before the length; it may have been heard as "four"."""
    cut = len(before)
    while cut and before[cut - 1] in _PREPOSITIONS:
        cut -= 1
    return before[:cut]


def reminder_label(words: Words, *, needs_lead: bool = False) -> str:
    """What to be reminded of, without the length of time: "to take my tea out".

    Args:
        needs_lead: only what begins with "to", "that" or "about": before it may stand a day or an hour.
    """
    start = next((at + 1 for at, w in enumerate(words) if w in _REMINDERS), 0)
    rest = list(words[start:])
    while rest and rest[0] in ("me", "us", "up", "for", "from", "now"):
        rest.pop(0)
    if needs_lead:
        lead = next((at for at, w in enumerate(rest) if w in ("to", "that", "about")), len(rest))
        rest = rest[lead:]
    if not rest:
        return "to wake up" if "wake" in words and not needs_lead else ""
    if rest[0] not in _LEADS_TO:
        rest.insert(0, "to")
    if len(rest) == 1:
        return ""
    return " ".join((_LEADS_TO[rest[0]], *rest[1:LABEL_WORDS]))


def timer_label(before: Words, after: Words) -> tuple[str, list[str]]:
    """A timer's name, and the words that were not understood."""
    for at, word in enumerate(after):
        is_purpose = word == "for" and tuple(after[at + 1 : at + 2]) in (("the",), ("my",))
        if word in ("called", "named") or is_purpose:
            label = after[at + (2 if is_purpose else 1) :][:LABEL_WORDS]
            return " ".join(label), _not_of_setting((*before, *after[:at]))
    unknown = _not_of_setting((*before, *after))
    for side in (tuple(before), tuple(after)):
        at = side.index("timer") if "timer" in side else 0
        is_name = 0 < len(unknown) <= 2 and list(side[max(at - len(unknown), 0) : at]) == unknown
        if is_name and not any(is_number_word(w) for w in unknown):
            return " ".join(unknown), []
    return "", unknown


def to_you(label: str) -> str:
    """As we say it to whom it concerns."""
    return " ".join(_PERSONS.get(word, word) for word in label.split())


def _not_of_setting(words: Words) -> list[str]:
    return [w for w in words if w not in _SET_ALLOWED]


def _stem(word: str) -> str:
    return word.removesuffix("s")
