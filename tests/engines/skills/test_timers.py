from datetime import UTC, datetime, timedelta

from duologue.engines.skills.skill import Scene
from duologue.engines.skills.timers import MAX_SESSIONS, TimerBook

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(seconds: float, session_id: str = "sess_1") -> Scene:
    return Scene(NOON + timedelta(seconds=seconds), session_id=session_id)


def test_what_runs_is_told_next_first_and_leaves_when_it_is_due() -> None:
    book = TimerBook()
    late = book.start(at(0), 60, "", is_reminder=False)
    soon = book.start(at(0), 10, "tea", is_reminder=False)
    assert book.running(at(5)) == [soon, late]
    assert book.running(at(10)) == [late]
    assert book.running(at(60)) == []
    assert len(book) == 0


def test_conversations_do_not_see_each_other() -> None:
    book = TimerBook()
    mine = book.start(at(0, "mine"), 60, "", is_reminder=False)
    assert book.running(at(1, "yours")) == []
    book.forget(at(1, "yours"), [mine])
    assert book.running(at(1, "mine")) == [mine]
    book.forget(at(1, "mine"), [mine])
    assert len(book) == 0


def test_a_nameless_conversation_is_not_kept() -> None:
    book = TimerBook()
    book.start(at(0, ""), 60, "", is_reminder=False)
    assert book.running(at(1, "")) == []


def test_the_book_is_bounded_and_forgets_the_longest_unused() -> None:
    book = TimerBook()
    for number in range(MAX_SESSIONS):
        book.start(at(0, f"sess_{number}"), 60, "", is_reminder=False)
    assert book.running(at(1, "sess_0"))  # used
    book.start(at(1, "one_more"), 60, "", is_reminder=False)
    assert len(book) == MAX_SESSIONS
    assert book.running(at(2, "sess_0"))
    assert not book.running(at(2, "sess_1"))


def test_ids_are_never_used_twice() -> None:
    book = TimerBook()
    ids = {book.start(at(n, f"s{n % 3}"), 1, "", is_reminder=False).id for n in range(50)}
    assert len(ids) == 50
