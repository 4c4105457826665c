"""The order of a session's chunks: every place once, in order, whatever comes when."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.chunks import ChunkOrder, Lost
from duologue.core.errors import ClientError
from duologue.core.streaming import AudioChunk


def chunk(index: int | None, *, final: bool = False, data: bytes | None = None) -> AudioChunk:
    """A chunk whose sound tells its index."""
    return AudioChunk(f"<{index}>".encode() if data is None else data, index, is_final=final)


def left(parts: tuple[AudioChunk | Lost, ...]) -> list[int | tuple[int, int]]:
    """The places that left: a number for a chunk, a pair for those that were lost."""
    return [
        (part.first, part.last) if isinstance(part, Lost) else part.index or 0 for part in parts
    ]


def test_what_comes_in_order_leaves_at_once() -> None:
    order = ChunkOrder()
    assert (order.received, order.deadline_ms) == (-1, None)
    for index in range(3):
        arrival = order.push(chunk(index), 0)
        assert (arrival.index, arrival.is_new, arrival.missing) == (index, True, None)
        assert left(arrival.ready) == [index]
    assert (order.received, order.held, order.held_bytes) == (2, 0, 0)


def test_without_an_index_a_chunk_follows_the_last_one_seen() -> None:
    order = ChunkOrder(5)
    assert order.push(chunk(None), 0).index == 5
    assert order.push(chunk(8), 0).index == 8
    assert order.push(chunk(None), 0).index == 9
    assert (order.received, order.held) == (5, 2)


def test_a_hole_is_told_once_and_what_came_after_it_waits() -> None:
    order = ChunkOrder()
    arrival = order.push(chunk(3), 100)
    assert (arrival.missing, arrival.ready, order.deadline_ms) == ((0, 2), (), 5_100)
    assert order.push(chunk(4), 200).missing is None
    assert order.push(chunk(6), 300).missing == (5, 5)
    assert (order.held, order.held_bytes) == (3, 9)
    assert order.push(chunk(1), 400).ready == ()
    assert left(order.push(chunk(0), 500).ready) == [0, 1]
    assert left(order.push(chunk(2), 600).ready) == [2, 3, 4]
    assert (order.received, order.deadline_ms, order.held_bytes) == (4, 5_300, 3)
    assert left(order.push(chunk(5), 700).ready) == [5, 6]
    assert order.deadline_ms is None


def test_what_was_waited_for_long_enough_is_given_up() -> None:
    order = ChunkOrder(patience_ms=1_000)
    order.push(chunk(2), 0)
    order.push(chunk(5), 400)
    assert order.expire(999) == ()
    assert left(order.expire(1_000)) == [(0, 1), 2]
    assert (order.received, order.deadline_ms) == (2, 1_400)
    late = order.push(chunk(1), 1_100)
    assert (late.index, late.is_new, late.ready) == (1, False, ())
    assert left(order.expire(9_999)) == [(3, 4), 5]
    assert order.expire(99_999) == ()


def test_at_the_end_nothing_is_waited_for() -> None:
    order = ChunkOrder()
    assert order.flush() == ()
    for index in (1, 3, 4, 7):
        order.push(chunk(index), 0)
    assert left(order.flush()) == [(0, 0), 1, (2, 2), 3, 4, (5, 6), 7]
    assert (order.received, order.held_bytes, order.deadline_ms) == (7, 0, None)


def test_a_reset_forgets_everything() -> None:
    order = ChunkOrder()
    order.push(chunk(0, final=True), 0)
    order.push(chunk(4), 0)
    order.reset()
    assert (order.received, order.held, order.held_bytes, order.deadline_ms) == (-1, 0, 0, None)
    assert left(order.push(chunk(0, data=b"other"), 0).ready) == [0]


@pytest.mark.parametrize(
    ("index", "code"),
    [
        (-1, "chunk_index_invalid"),
        (64, "chunk_index_too_far_ahead"),
        (1 << 80, "chunk_index_too_far_ahead"),
    ],
)
def test_an_index_that_cannot_be_changes_nothing(index: int, code: str) -> None:
    order = ChunkOrder()
    order.push(chunk(2), 0)
    with pytest.raises(ClientError) as caught:
        order.push(chunk(index, final=True), 10)
    assert (caught.value.code, caught.value.param) == (code, "chunk_index")
    assert (order.received, order.held, order.deadline_ms) == (-1, 1, 5_000)
    assert order.push(chunk(63), 20).missing == (3, 62)
    assert left(order.push(chunk(0), 30).ready) == [0]


def test_the_window_moves_with_what_left() -> None:
    order = ChunkOrder(window=2)
    order.push(chunk(0), 0)
    assert order.push(chunk(2), 0).missing == (1, 1)
    with pytest.raises(ClientError, match="more than 1 ahead of chunk 1"):
        order.push(chunk(3), 0)
    assert left(order.push(chunk(1), 0).ready) == [1, 2]
    assert left(order.push(chunk(3), 0).ready) == [3]


def test_other_sound_under_an_index_is_refused_rather_than_lost() -> None:
    order = ChunkOrder()
    order.push(chunk(0), 0)
    order.push(chunk(2), 0)
    for index in (0, 2):
        with pytest.raises(ClientError) as caught:
            order.push(chunk(index, data=b"else"), 0)
        assert caught.value.code == "chunk_index_reused"
    assert order.push(chunk(2), 0).is_new is False


def test_what_is_remembered_is_bounded() -> None:
    order = ChunkOrder(window=4)
    for index in range(100):
        order.push(chunk(index), 0)
    assert order.push(chunk(3, data=b"no longer known"), 0).is_new is False
    with pytest.raises(ClientError, match="Other sound"):
        order.push(chunk(97, data=b"known"), 0)


# --- what pages do when they stop recording, and record again ---
def test_a_last_chunk_that_comes_again_as_the_final_one_ends_the_utterance() -> None:
    order = ChunkOrder()
    order.push(chunk(0), 0)
    order.push(chunk(1), 0)
    again = order.push(chunk(1, final=True), 0)
    assert (again.index, again.is_new) == (1, False)
    assert again.ready == (AudioChunk(b"", 1, is_final=True),)
    assert order.push(chunk(1, final=True), 0).ready == ()  # and once only
    assert order.received == 1


def test_it_may_come_without_its_sound() -> None:
    order = ChunkOrder()
    order.push(chunk(0), 0)
    assert order.push(chunk(0, final=True, data=b""), 0).ready == (
        AudioChunk(b"", 0, is_final=True),
    )


def test_a_final_chunk_that_is_sent_again_ends_nothing_twice() -> None:
    order = ChunkOrder()
    order.push(chunk(0, final=True), 0)
    order.push(chunk(1), 0)
    assert order.push(chunk(0, final=True), 0).ready == ()


def test_an_end_that_overtook_its_chunks_waits_with_them() -> None:
    order = ChunkOrder()
    for index in (0, 2, 3):
        order.push(chunk(index), 0)
    assert order.push(chunk(2, final=True), 0).ready == ()
    ready = order.push(chunk(1), 0).ready
    assert [(c.index, c.is_final) for c in ready if isinstance(c, AudioChunk)] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert order.push(chunk(0, final=True), 0).ready == ()  # it had ended


def test_a_new_recording_may_count_from_0_again() -> None:
    order = ChunkOrder()
    order.push(chunk(0), 0)
    order.push(chunk(1, final=True), 0)
    first = order.push(chunk(0, data=b"new 0"), 0)
    assert (first.index, first.is_new, left(first.ready)) == (2, True, [2])
    assert order.push(chunk(0, data=b"new 0"), 0).is_new is False
    assert left(order.push(chunk(1, data=b"new 1"), 0).ready) == [3]
    with pytest.raises(ClientError, match="Other sound"):  # this count has not ended
        order.push(chunk(0, data=b"newer 0"), 0)


def test_each_recording_may_be_one_chunk() -> None:
    order = ChunkOrder()
    for number in range(5):
        sound = f"recording {number}".encode()
        assert left(order.push(chunk(0, final=True, data=sound), 0).ready) == [number]


def test_with_a_new_recording_the_old_one_is_over() -> None:
    """A page may send its last piece after the one that it called final, and then begin anew."""
    order = ChunkOrder()
    order.push(chunk(0, final=True), 0)
    order.push(chunk(1), 0)
    order.push(chunk(3), 0)
    ready = order.push(chunk(0, data=b"new 0"), 0).ready
    assert left(ready) == [(2, 2), 3, 3, 4]
    assert ready[2] == AudioChunk(b"", 3, is_final=True)
    assert order.deadline_ms is None


def test_where_the_first_chunk_is_not_known_0_is_no_new_recording() -> None:
    order = ChunkOrder(patience_ms=0)
    order.push(chunk(1, final=True), 0)
    order.expire(0)
    assert order.push(chunk(0, data=b"late"), 0).is_new is False


# --- any order ---
@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """How many chunks there are, the window, and in which order they come: none too early, some twice, some never."""
    count = draw(st.integers(1, 40))
    window = draw(st.integers(1, 12))
    delays = draw(st.lists(st.integers(0, window - 1), min_size=count, max_size=count))
    order = sorted(range(count), key=lambda i: i + delays[i])
    lost = draw(st.sets(st.integers(0, count - 1), max_size=count // 3))
    sent = [index for index in order if index not in lost]
    for index in draw(st.lists(st.sampled_from(sent), max_size=8)) if sent else []:
        sent.insert(draw(st.integers(sent.index(index), len(sent))), index)
    return count, window, sent


@given(deliveries(), st.integers(0, 30))
def test_every_place_leaves_once_and_in_order(
    delivery: tuple[int, int, list[int]], patience: int
) -> None:
    _, window, sent = delivery
    order = ChunkOrder(window=window, patience_ms=patience)
    parts: list[AudioChunk | Lost] = []
    told: list[int] = []
    waited = True
    for now, index in enumerate(sent):
        parts += order.expire(now)
        try:
            arrival = order.push(chunk(index), now)
        except ClientError:  # too many are missing before it: the client waits, as it is told to
            parts += order.flush()
            waited = False
            if index >= order.received + 1 + window:
                continue
            arrival = order.push(chunk(index), now)
        parts += arrival.ready
        told += range(arrival.missing[0], arrival.missing[1] + 1) if arrival.missing else ()
        assert order.held < window
        assert order.held_bytes == sum(len(c.data) for c in order._held.values())
        assert (order.deadline_ms is None) == (order.held == 0)
    parts += order.flush()
    places: list[int] = []
    for part in parts:
        if isinstance(part, Lost):
            assert part.first <= part.last
            places += range(part.first, part.last + 1)
        else:
            assert part.data == f"<{part.index}>".encode()
            places.append(part.index or 0)
    assert places == list(range(order.received + 1))
    lost = {p for part in parts if isinstance(part, Lost) for p in range(part.first, part.last + 1)}
    assert lost <= set(told), "what is lost was asked for"
    assert len(told) == len(set(told)), "a hole is told once"
    if waited and patience > len(sent):
        assert lost.isdisjoint(sent)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-3, 90), st.integers()),
            st.booleans(),
            st.sampled_from([b"", b"a", b"b"]),
            st.integers(0, 9_000),
        ),
        max_size=40,
    )
)
def test_nothing_breaks_it(steps: list[tuple[int | None, bool, bytes, int]]) -> None:
    order, now = ChunkOrder(window=8), 0
    due = 0
    for index, final, data, later in steps:
        now += later
        parts = list(order.expire(now))
        with suppress(ClientError):
            parts += order.push(chunk(index, final=final, data=data), now).ready
        for part in parts:
            if isinstance(part, Lost):
                assert part.first == due
                due = part.last + 1
            elif part.data or part.index == due:
                assert part.index == due
                due += 1
            else:
                assert (part.index, part.is_final) == (due - 1, True)
        assert order.received == due - 1
        assert order.held < 8
        assert len(order._known) <= 8
