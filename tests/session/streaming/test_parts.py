"""The small parts of a streaming session, each by itself."""

from dataclasses import replace
from pathlib import Path

from duologue.core.errors import EngineLost
from duologue.core.playout import SpokenText
from duologue.core.records import SoundRecord
from duologue.core.streaming import (
    GapMarked,
    Joined,
    Lasting,
    Pong,
    Spoken,
    StreamNotice,
    StreamOptions,
    TextRequest,
    Transcribed,
)
from duologue.core.words import Word
from duologue.ports import TtsOptions
from duologue.session.streaming.history import History
from duologue.session.streaming.listening import AGAIN_MOST_S, wait_s
from duologue.session.streaming.recorder import STRETCH_BYTES, Recorder
from duologue.session.streaming.response import PartMade, Response
from duologue.session.streaming.seats import MAX_WAITING, Seat, Seats
from duologue.session.streaming.shared import Bounds
from duologue.session.streaming.shelf import MAX_RECENT, Shelf, notices_of, record_of
from duologue.session.streaming.spoken_cache import Said, Saying, SpokenCache
from duologue.session.streaming.standing import Standing, options_of
from duologue.session.streaming.transcript import Place
from duologue.store.opening import open_archive
from tests.support.stage import HandClock

AT_S = 1_700_000_000.0


def said(number: int, text: str = "hello") -> Transcribed:
    word = Word(text, 100, 400, -0.5)
    return Transcribed(
        number, f"item_{number}", text, "en", 0.9, 100, 400, (word,), 0, 1, True, number
    )


def spoken(number: int, text: str, part: int = 0, *, last: bool = True) -> Spoken:
    return Spoken(number, "resp_1", "r", part, last, text, "en", b"RIFF" * 10, 900)


# --- the cache ---
def saying(text: str, **changes: str) -> Saying:
    return Saying(text, TtsOptions(changes.get("voice", "")), changes.get("engine", "flite"))


def test_what_was_said_is_found_by_text_voice_and_engine() -> None:
    cache = SpokenCache()
    cache.keep(saying("hi"), Said(b"xx", 24_000, SpokenText()))
    assert cache.find(saying("hi")) is not None
    assert cache.find(saying("hi", voice="other")) is None
    assert cache.find(saying("hi", engine="espeak")) is None
    assert (cache.hits, cache.misses, cache.bytes) == (1, 2, 2)


def test_the_cache_is_bounded_and_forgets_what_was_longest_not_wanted() -> None:
    cache = SpokenCache(max_bytes=30)
    for name in "abc":
        cache.keep(saying(name), Said(bytes(10), 24_000, SpokenText()))
    cache.find(saying("a"))
    cache.keep(saying("d"), Said(bytes(10), 24_000, SpokenText()))
    assert cache.find(saying("b")) is None
    assert cache.find(saying("a")) is not None
    cache.keep(saying("a"), Said(bytes(4), 24_000, SpokenText()))
    cache.keep(saying("long"), Said(bytes(31), 24_000, SpokenText()))
    assert (cache.bytes, len(cache)) == (24, 3)


# --- seats ---
class Host:
    def answer(self, command: object, tell: object) -> None: ...


JOINED = Joined("s", "", 0, 0, 0, True, False, 0.0, StreamOptions())


def test_a_seat_hears_what_it_missed_then_what_came_meanwhile_each_once() -> None:
    told: list[StreamNotice] = []
    seats = Seats(Host(), 2)
    seat = seats.take(told.append)
    seats.tell(said(2))
    seats.tell(said(3))
    seats.tell(Pong())
    seat.catch_up(JOINED, [said(1), said(2)])
    seats.tell(said(4))
    assert [getattr(n, "number", None) for n in told] == [None, 1, 2, 3, None, 4]
    seat.leave()
    seats.tell(Pong())
    assert len(told) == 6
    assert not len(seats)


def test_a_seat_that_is_not_told_what_it_missed_is_given_up() -> None:
    seats = Seats(Host(), 2)
    seats.take(lambda _: None)
    for _ in range(MAX_WAITING + 1):
        seats.tell(Pong())
    assert not len(seats)
    assert isinstance(seats.take(lambda _: None), Seat)


# --- the shelf ---
async def test_nothing_is_told_before_it_is_stored_and_old_things_come_from_the_store() -> None:
    archive = open_archive("memory", Path())
    await archive.start()
    standing = Standing("s", "", archive, Bounds(), lambda: AT_S, None)
    await archive.write(standing.record(StreamOptions()))
    told: list[Lasting] = []
    shelf = Shelf(archive, "s", told.append)
    count = MAX_RECENT + 40
    for _ in range(count):
        notice = said(shelf.next_number())
        shelf.put(notice, record_of("s", notice, AT_S))
    assert not told
    assert shelf.is_full
    await archive.session("s")
    assert [n.number for n in told] == list(range(1, count + 1))
    missed, complete = await shelf.since(3)
    assert (len(missed), complete) == (count - 3, True)
    assert missed[0] == said(4)
    missed, complete = await shelf.since(count - 5)
    assert len(missed) == 5
    await archive.aclose()


async def test_what_cannot_be_stored_is_told_all_the_same() -> None:
    archive = open_archive("memory", Path())
    await archive.start()
    told: list[Lasting] = []
    stored: list[bool] = []
    shelf = Shelf(archive, "unknown", told.append)
    notice = said(shelf.next_number())
    shelf.put(notice, record_of("unknown", notice, AT_S), stored=stored.append)
    await archive.session("unknown")
    assert (told, stored) == ([replace(notice, committed=-1)], [False])
    assert not shelf.is_waiting
    await archive.aclose()


def test_notices_come_back_from_their_records_without_their_sound() -> None:
    gap = GapMarked(3, "gap_1", 4, 5, 100, 900, "chunks_missing")
    records = [record_of("s", notice, AT_S) for notice in (said(1), spoken(2, "Yes. "), gap)]
    back = notices_of([*records, replace(records[0], kind="message")])
    assert back == [said(1), replace(spoken(2, "Yes. "), audio=b"", audio_lost=True), gap]


# --- the history ---
def test_of_a_response_the_history_keeps_what_was_heard() -> None:
    history = History()
    history.user_said("u1", "How are you?")
    parts = [
        record_of("s", spoken(n, t, n - 1), AT_S) for n, t in ((1, "I am "), (2, "well today."))
    ]
    for part in parts:
        history.we_said(part)
    assert [m.parts[0].text for m in history.items] == ["How are you?", "I am well today."]  # type: ignore[union-attr]
    assert not history.heard_only("resp_1", "I am well today.")
    changed = history.heard_only("resp_1", "I am well")
    assert [(r.text, r.status) for r in changed] == [("well", "incomplete")]
    assert history.items[1].status == "incomplete"
    assert history.entries == 2
    again = History()
    message = replace(record_of("s", said(9, "written"), AT_S), kind="message")
    again.restore([record_of("s", said(1), AT_S), *parts, message])
    assert again.entries == 3
    history.forget()
    assert not history.items


# --- standing ---
def test_a_place_that_is_being_written_is_not_taken_back_by_a_later_record() -> None:
    now = HandClock()
    standing = Standing("s", "ann", open_archive("off", Path()), Bounds(), now, None)
    token = standing.new_token()
    assert standing.is_token(token)
    assert not standing.is_token("no")
    place = Place(4, 20, 64_000, "container")
    record = standing.record(StreamOptions(voice="a"), place)
    assert standing.record(StreamOptions()).state == record.state
    assert standing.stored == Place()
    standing.is_stored(place)
    assert standing.stored == place
    again = Standing("s", "ann", open_archive("off", Path()), Bounds(), now, record)
    assert again.stored == place
    assert again.is_token(token)
    unknown = replace(record, settings={**record.settings, "of_tomorrow": 1})
    assert options_of(unknown) == StreamOptions(voice="a")


def test_it_is_written_when_sound_moved_on_and_now_and_then_without() -> None:
    now = HandClock()
    standing = Standing("s", "", open_archive("off", Path()), Bounds(idle_s=50), now, None)
    moved = Place(1, 0, 10)
    assert not standing.is_due(moved)
    now.now += 3
    assert standing.is_due(moved)
    assert not standing.is_due(Place())
    now.now += 30
    assert standing.is_due(Place())
    assert not standing.is_idle()
    now.now += 20
    assert standing.is_idle()
    standing.touch()
    assert not standing.is_idle()
    now.now += 3_600
    assert standing.is_too_long()
    standing.renew()
    assert not standing.is_too_long()


# --- responses ---
def response(told: list[PartMade], clock: HandClock, *, whole: bool) -> Response:
    request = TextRequest("x")
    return Response(
        "resp_1", request, 1_000, lambda _, p: told.append(p), clock, whole=whole, keeps=True
    )


def test_parts_are_told_piece_by_piece_or_all_at_once() -> None:
    for whole, count in ((True, 1), (False, 2)):
        told: list[PartMade] = []
        made = response(told, HandClock(), whole=whole)
        for text in ("One. ", "Two."):
            number = made.add_piece(text)
            made.add_sound(number, text, bytes(2_000), ())
        made.finish()
        assert len(told) == count
        assert "".join(part.text for part in told) == "One. Two."
        assert [part.is_last for part in told] == [False] * (count - 1) + [True]
        assert sum(part.duration_ms for part in told) == 2_000
        assert len(made.take_pcm()) == 4_000
        made.finish()
        assert len(told) == count


def test_what_was_heard_goes_by_time_until_the_client_knows_better() -> None:
    told: list[PartMade] = []
    clock = HandClock()
    made = response(told, clock, whole=True)
    made.add_sound(made.add_piece("one two three four"), "", bytes(8_000), ())
    made.finish()
    clock.now += 2_000
    assert made.heard() == (2_000, "one two")
    made.played(4_000)
    assert made.heard() == (4_000, "one two three four")
    assert not made.is_audible
    made.stop()
    made.add_sound(0, "", bytes(10), ())
    assert len(told) == 1


def test_of_text_all_that_was_told_counts_and_of_nothing_nothing() -> None:
    made = response([], HandClock(), whole=True)
    assert made.heard() == (0, "")
    made.add_text("written")
    made.finish()
    assert made.heard() == (0, "written")
    broken = response([], HandClock(), whole=True)
    broken.fail(EngineLost("x", "y"))
    assert broken.error is not None


# --- recordings ---
async def test_sound_is_written_in_stretches_and_breaks_are_kept() -> None:
    archive = open_archive("memory", Path())
    await archive.start()
    await archive.write(
        Standing("s", "", archive, Bounds(), lambda: AT_S, None).record(StreamOptions())
    )
    recorder = Recorder(archive, "s", lambda: AT_S)
    recorder.user(bytes(STRETCH_BYTES), 0)
    recorder.user(b"\x01\x00" * 160, STRETCH_BYTES // 2)
    recorder.user(b"\x02\x00" * 160, STRETCH_BYTES // 2 + 16_000)
    recorder.ours(b"RIFF", 500)
    recorder.flush()
    assert recorder.held_bytes == 0
    sounds: list[SoundRecord] = list(await archive.sounds("s"))
    assert [(s.side, s.start_ms) for s in sounds] == [
        ("user", 0),
        ("assistant", 500),
        ("user", 10_000),
        ("user", 11_000),
    ]
    await archive.aclose()


def test_the_wait_after_a_failure_grows_and_is_bounded() -> None:
    waits = [wait_s(tries) for tries in range(1, 9)]
    assert waits[:3] == [0.25, 0.5, 1.0]
    assert waits[-1] == AGAIN_MOST_S
