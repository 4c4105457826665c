"""Any-size chunks in, fixed-size frames out."""

from collections.abc import Iterator


class Rechunker:
    """Cuts a byte stream into frames of one size, whatever the sizes it arrives in.

    Holds less than one frame between calls, so its bound is `size`.

    Args:
        size: bytes of a frame; positive.
    """

    __slots__ = ("_held", "size")

    def __init__(self, size: int) -> None:
        if size <= 0:
            raise ValueError(f"a frame has at least one byte, got {size}")
        self.size = size
        self._held = b""

    @property
    def held(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._held)

    def push(self, chunk: bytes) -> Iterator[bytes]:
        """Yield every whole frame that the chunk completes. Must be iterated to the end."""
        data = self._held + chunk if self._held else chunk
        size = self.size
        whole = len(data) - len(data) % size
        self._held = data[whole:]
        for at in range(0, whole, size):
            yield data[at : at + size]

    def drain(self) -> bytes:
        """The incomplete rest, which is then forgotten."""
        rest, self._held = self._held, b""
        return rest
