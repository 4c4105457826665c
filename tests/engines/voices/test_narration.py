from collections.abc import Sequence

import numpy as np
import pytest

from duologue.engines.base import Flush
from duologue.engines.voices.narration import Narrator, Take, pause_ms_after
from duologue.engines.voices.part_sound import LEAD_MS, TAIL_MS
from duologue.ports import Audio, Event, Final, Say
from tests.engines.voices.narrated import ListInbox

RATE = 16_000
CHAR_MS = 50


def beep(text: str, take: Take) -> None:
    """A voice that takes 50 ms for each character, with 100 ms of silence around them, and tells each word."""
    take(bytes(RATE // 5), ())
    for at, char in enumerate(text):
        t = np.arange(RATE * CHAR_MS // 1000)
        sound = (np.sin(t * 0.3) * 8_000).astype("<i2").tobytes()
        begins = char != " " and (at == 0 or text[at - 1] == " ")
        take(sound, [(RATE // 10 + at * RATE * CHAR_MS // 1000, at)] if begins else [])
    take(bytes(RATE // 5), ())


def narrate(items: Sequence[Say | Flush], speed: float = 1.0) -> list[Event]:
    events: list[Event] = []
    Narrator(beep, RATE, 1.0, speed).run(ListInbox(items), events.append)
    return events


def said_ms(events: list[Event], number: int) -> float:
    sounds = [e.pcm for e in events if isinstance(e, Audio) and e.number == number]
    return sum(map(len, sounds)) / 2 * 1000 / RATE


def test_flushes_are_answered_in_order_with_the_pieces_so_far() -> None:
    events = narrate([Flush(1), Say(4, "one"), Flush(2), Say(5, "**"), Say(6, "two"), Flush(3)])
    finals = [event for event in events if isinstance(event, Final)]
    assert finals == [Final(1, 0), Final(2, 1), Final(3, 3)]
    assert {event.number for event in events if isinstance(event, Audio)} == {4, 6}
    assert events[0] == finals[0]
    assert events[-1] == finals[2]


@pytest.mark.parametrize(
    ("first", "gap_ms"),
    [
        ("One. ", 200),
        ("One!\n", 200),
        ("Milk\n", 200),
        ('"One." ', 200),
        ("One, ", 110),
        ("One ", 60),
    ],
)
def test_a_piece_is_set_apart_from_the_one_before_by_how_that_ended(
    first: str, gap_ms: int
) -> None:
    events = narrate([Say(0, first), Say(1, "two"), Flush(1)])
    alone = said_ms(narrate([Say(1, "two"), Flush(1)]), 1)
    gap = TAIL_MS + LEAD_MS + said_ms(events, 1) - alone
    assert gap == pytest.approx(gap_ms, abs=5)
    faster = narrate([Say(0, first), Say(1, "two"), Flush(1)], speed=2.0)
    gap = TAIL_MS + LEAD_MS + said_ms(faster, 1) - alone
    assert gap == pytest.approx(max(gap_ms / 2, TAIL_MS + LEAD_MS), abs=5)


def test_a_silent_piece_leaves_the_pause_owed() -> None:
    events = narrate([Say(0, "One. "), Say(1, "🥛 "), Say(2, "two"), Flush(1)])
    assert said_ms(events, 1) == 0
    assert said_ms(events, 2) == said_ms(narrate([Say(0, "One. "), Say(2, "two"), Flush(1)]), 2)


def test_words_point_into_the_original_text() -> None:
    text = "## **Big** [map](https://x.y/z): *now*"
    events = narrate([Say(0, "Hi. "), Say(1, text), Flush(1)])
    words = [w for e in events if isinstance(e, Audio) and e.number == 1 for w in e.words]
    assert [text[at : at + 3] for _, at in words] == ["Big", "map", "now"]
    first = 200 - TAIL_MS
    assert [ms for ms, _ in words] == pytest.approx([first, first + 200, first + 450], abs=6)


def test_a_long_text_is_spoken_in_parts_with_words_from_the_pieces_beginning() -> None:
    text = "This is a sentence of some length. " * 20
    events = narrate([Say(0, text), Flush(1)])
    words = [w for e in events if isinstance(e, Audio) for w in e.words]
    assert [at for _, at in words] == [
        i for i, c in enumerate(text) if c != " " and text[i - 1] == " "
    ]
    times = [ms for ms, _ in words]
    assert times == sorted(times)
    assert said_ms(events, 0) - 1_000 < times[-1] < said_ms(events, 0)


def test_a_word_without_end_is_spoken_whole() -> None:
    events = narrate([Say(0, "a" * 480), Flush(1)])
    assert said_ms(events, 0) == pytest.approx(489 * CHAR_MS, abs=200)
    assert [w for e in events if isinstance(e, Audio) for w in e.words][:2] == [(LEAD_MS, 0)]


def test_a_cancelled_stream_says_no_further_part() -> None:
    inbox = ListInbox([Say(0, "This is a sentence of some length. " * 20)])
    parts: list[str] = []

    def speak(text: str, take: Take) -> None:
        parts.append(text)
        inbox.cancelled = True

    Narrator(speak, RATE, 1.0, 1.0).run(inbox, lambda _: None)
    assert len(parts) == 1


@pytest.mark.parametrize(
    ("text", "pause_ms"),
    [
        ("Yes.", 200),
        ("Yes)", 0),
        ("Yes.) ", 200),
        ("Yes;", 110),
        ("好。", 200),
        ("好，", 110),
        ("", 0),
        ("'", 0),
    ],
)
def test_how_long_a_mark_is(text: str, pause_ms: int) -> None:
    assert pause_ms_after(text) == pause_ms
