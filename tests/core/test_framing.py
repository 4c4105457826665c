import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.framing import Rechunker


@given(st.binary(max_size=400), st.integers(1, 50), st.data())
def test_any_cuts_give_the_same_frames(data: bytes, size: int, more: st.DataObject) -> None:
    cuts = sorted(more.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    frames: list[bytes] = []
    rechunker = Rechunker(size)
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        frames += rechunker.push(data[start:end])
        assert rechunker.held < size
    assert all(len(frame) == size for frame in frames)
    assert b"".join(frames) + rechunker.drain() == data
    assert rechunker.held == 0


def test_a_frame_has_a_size() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Rechunker(0)
