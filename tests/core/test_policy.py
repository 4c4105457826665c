import pytest

from duologue.core.policy import says_something


@pytest.mark.parametrize("text", ["", "  ", "mhm", "Uh-huh.", "yeah, okay", "..."])
def test_nothing_that_asks_for_the_floor(text: str) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["stop", "No.", "okay stop", "what?"])
def test_words_that_do(text: str) -> None:
    assert says_something(text)
