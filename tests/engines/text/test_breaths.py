from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.text.breaths import FIRST_CHARS, LAST_CHARS, LEAST_CHARS, Breaths, cut
from duologue.engines.text.speakable import speakable

SENTENCES = "It was late, and the small dog ran home over the hill. " * 20


def test_the_first_is_short_and_each_next_at_most_twice_as_long() -> None:
    parts = [part.text for part in Breaths(speakable)(SENTENCES)]
    assert len(parts[0]) <= FIRST_CHARS
    limits = [FIRST_CHARS, 2 * FIRST_CHARS, LAST_CHARS, LAST_CHARS]
    assert all(len(p) <= limit * 5 // 4 for p, limit in zip(parts, limits, strict=False))
    assert max(map(len, parts)) > 1.5 * FIRST_CHARS
    assert all(part.rstrip().endswith(".") for part in parts)


def test_the_limit_grows_over_the_pieces_of_an_answer() -> None:
    breaths = Breaths(speakable)
    breaths("Well, ")
    breaths("**")
    assert [len(part.text) for part in breaths(SENTENCES[:165])] == [110, 55]


def test_a_comma_is_better_than_a_space_and_a_space_than_none() -> None:
    comma = (
        "the small dog ran home over the hill, where nobody had waited for it to come back again"
    )
    assert comma[: cut(comma, 0, 60)].endswith("hill, ")
    early = "So, the small dog ran home over the hill where nobody had waited for it to come back"
    assert early[: cut(early, 0, 60)].endswith(" ")
    assert cut(early, 0, 60) > LEAST_CHARS
    assert cut("x" * 200, 0, 60) == 60


@given(st.text(alphabet="ab .!,?\n你。", max_size=1_500))
def test_nothing_is_lost(text: str) -> None:
    parts = Breaths(speakable)(text)
    said = [c for part in parts for c in part.text if c.isalnum()]
    assert said == [c for c in text if c.isalnum()]
    for part in parts:
        assert [text[at] for at in part.origins] == list(part.text)
