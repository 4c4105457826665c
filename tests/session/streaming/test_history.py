"""What is remembered of a long conversation: all of it, in order, in little room."""

import tracemalloc
from itertools import count

from duologue.core.conversation import Message
from duologue.core.records import ItemRecord
from duologue.session.streaming.history import AT_HAND, PACK, History


def said(history: History, number: int) -> str:
    text = f"This is what was said as number {number}, with an ö and a 你."
    history.user_said(f"item_{number:020x}", text)
    return text


def answered(history: History, number: int) -> ItemRecord:
    body = {"response_id": f"resp_{number:020x}", "request_id": "", "part": 0, "is_last": True}
    body |= {"language": "en", "duration_ms": 900}
    args = (f"i{number}", number, "speech", "assistant", f"Answer number {number}.", 0.0)
    record = ItemRecord("s", *args, body=body)
    history.we_said(record)
    return record


def test_old_messages_are_as_they_were() -> None:
    history, texts = History(), []
    for number in range(3 * AT_HAND):
        texts.append(said(history, number))
        texts.append(answered(history, number).text)
    messages = [item for item in history.items if isinstance(item, Message)]
    assert [message.text for message in messages] == texts
    assert [message.role for message in messages[:2]] == ["user", "assistant"]
    assert [message.parts[0].kind for message in messages[:2]] == ["input_audio", "output_audio"]
    assert messages[0].id == f"item_{0:020x}"
    assert tuple(history.conversation) == history.items
    assert history.entries == 6 * AT_HAND


def test_what_was_not_heard_of_the_last_answer_is_not_said() -> None:
    history = History()
    for number in range(AT_HAND + 5):
        answered(history, number)
    (cut,) = history.heard_only(f"resp_{AT_HAND + 4:020x}", "Answer")
    assert (cut.text, cut.status) == ("Answer", "incomplete")
    last = history.items[-1]
    assert isinstance(last, Message)
    assert (last.text, last.status) == ("Answer", "incomplete")


def test_nothing_is_left_of_what_is_forgotten_and_the_oldest_leave() -> None:
    history = History()
    for number in range(1_200):
        said(history, number)
    kept = history.items
    assert 1_000 - PACK - AT_HAND <= len(kept) <= 1_000
    assert kept[-1].id == f"item_{1_199:020x}"
    history.forget()
    assert history.items == ()


def test_half_an_hour_takes_little_room() -> None:
    history, numbers = History(), count()
    for _ in range(2 * AT_HAND):
        said(history, next(numbers))
    tracemalloc.start()
    try:
        for _ in range(512):
            said(history, next(numbers))
        assert tracemalloc.get_traced_memory()[0] < 64_000  # 270 000 as they are
    finally:
        tracemalloc.stop()
