"""Where an answer ends."""

from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.local_llm.stops import StopFinder


def said(pieces: list[str], *stops: str) -> str:
    finder = StopFinder(stops)
    return "".join(finder.push(piece) for piece in pieces) + finder.finish()


def test_what_comes_after_a_stop_is_not_said() -> None:
    assert said(["It is twelve.", "\nUs", "er: and", " now?"], "\nUser:") == "It is twelve."


def test_what_may_become_a_stop_is_held_back_and_given_when_it_does_not() -> None:
    finder = StopFinder(["User:"])
    assert finder.push("Hello U") == "Hello "
    assert finder.push("sers") == "Users"
    assert not finder.is_found
    assert said(["Ask the Use"], "User:") == "Ask the Use"


def test_the_earliest_stop_ends() -> None:
    assert said(["one\ntwo User:"], "User:", "\n") == "one"


def test_white_space_at_the_beginning_is_not_said_and_no_stop() -> None:
    assert said(["\n", " \n", "Hello.\n"], "\n") == "Hello."


def test_nothing_is_said_after_the_end() -> None:
    finder = StopFinder(["\n"])
    assert finder.push("a\nb") == "a"
    assert finder.is_found
    assert finder.push("c") == ""


@given(st.text("ab\n:U", max_size=30), st.lists(st.integers(1, 5), min_size=30, max_size=30))
def test_the_pieces_in_which_a_text_comes_do_not_matter(text: str, sizes: list[int]) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    stops = ("U:", "\nb", "aab")
    assert said(pieces, *stops) == said([text], *stops)
    assert not any(stop in said(pieces, *stops) for stop in stops)
