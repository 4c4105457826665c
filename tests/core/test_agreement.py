"""Partials that may be revised, and what of them will not be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from duologue.core.agreement import Agreement


def test_what_two_partials_say_is_agreed_in_the_words_of_the_later() -> None:
    agreement = Agreement()
    agreement.push("hello their")
    assert (agreement.agreed, agreement.rest) == ("", "hello their")
    agreement.push("Hello, there my")
    assert (agreement.agreed, agreement.rest) == ("Hello,", "there my")
    agreement.push("hello there my friend")
    assert (agreement.agreed, agreement.rest) == ("Hello, there my", "friend")


def test_what_was_agreed_stays_even_if_the_recogniser_thinks_again() -> None:
    agreement = Agreement()
    agreement.push("one two")
    agreement.push("one two")
    agreement.push("won")
    assert (agreement.agreed, agreement.rest) == ("one two", "")


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=12))
def test_agreed_text_only_grows(partials: list[list[str]]) -> None:
    agreement, told = Agreement(), [""]
    for partial in partials:
        agreement.push(" ".join(partial))
        told.append(agreement.agreed)
    assert all(later.startswith(earlier) for earlier, later in pairwise(told))
