"""The skill that does sums, and asks where it may have misheard one."""

from duologue.engines.skills.heard import Heard
from duologue.engines.skills.numbers import Words, is_number_word
from duologue.engines.skills.skill import Scene, Understood, did_you_mean, say, unless_doubtful
from duologue.engines.skills.sums import Sum, parse_sum

_ALLOWED = frozenset(
    "what is the how much do does you we get answer to of result calculate compute work out equals equal make "
    "makes be it that with would find a an are for sum exactly together".split()
)
_OPERATIONS = frozenset("plus minus times divided multiplied multiply divide subtract".split())
_PARTS_OF_SUMS = _ALLOWED | _OPERATIONS | {"by", "and", "percent", "hundred", "thousand"}
_RESPELLINGS = {"and": "plus", "off": "of"}
"""What may have been meant, where there is no sum without it."""
_ASKING = frozenset("what much add calculate percent".split())


def understand(heard: Heard, scene: Scene) -> Understood | None:
    """See `skill.Skill`."""
    found = _longest(heard.words)
    if found is None:
        return _respelled(heard) or _incomplete(heard)
    total, start, end = found
    unknown = _unknown(heard.words, start, end)
    if unknown and total.words.startswith("double"):
        return None  # a number said digit by digit: "double five one"
    return unless_doubtful(say(total.answer()), heard, unknown, total.words)


def _longest(words: Words) -> tuple[Sum, int, int] | None:
    """The longest sum in the words, with where it begins and ends."""
    best: tuple[Sum, int, int] | None = None
    for start in range(len(words)):
        parsed = parse_sum(words, start)
        if parsed is None or not parsed[0].steps:
            continue
        if best is None or parsed[1] - start > best[2] - best[1]:
            best = (parsed[0], start, parsed[1])
    return best


def _unknown(words: Words, start: int, end: int) -> list[str]:
    return [w for w in (*words[:start], *words[end:]) if w not in _ALLOWED]


def _respelled(heard: Heard) -> Understood | None:
    """Probably a sum, and worth a question: "what is five and seven"."""
    words = tuple(_RESPELLINGS.get(word, word) for word in heard.words)
    found = _longest(words) if words != heard.words and _ASKING & set(words) else None
    if found is None or _unknown(words, found[1], found[2]):
        return None
    total = found[0]
    return Understood(say(total.answer()).act, did_you_mean(heard, total.words))


def _incomplete(heard: Heard) -> Understood | None:
    """Something of a sum, but not all of it."""
    has_number = any(is_number_word(w) for w in heard.words)
    is_all_known = all(w in _PARTS_OF_SUMS or is_number_word(w) for w in heard.words)
    if not has_number or not is_all_known or not _OPERATIONS & set(heard.words):
        return None
    return say(f"I heard: {heard.quote}. I did not get the whole sum; please say it again.")
