"""The sound of a session, where it asked for that: put into the store in stretches of some seconds."""

from collections.abc import Callable

from duologue.core.audio import SAMPLE_BYTES, samples_to_ms
from duologue.core.records import SoundRecord
from duologue.ports import Archive

STRETCH_BYTES = 10 * 16_000 * SAMPLE_BYTES
"""Ten seconds: what a crash may cost."""


class Recorder:
    """One session's."""

    def __init__(self, archive: Archive, session_id: str, wall_s: Callable[[], float]) -> None:
        self._archive = archive
        self._id = session_id
        self._wall_s = wall_s
        self._held = bytearray()
        self._start = 0

    @property
    def held_bytes(self) -> int:
        """Sound that is not written yet."""
        return len(self._held)

    def user(self, pcm: bytes, start: int) -> None:
        """More of the user's sound; what does not follow begins a stretch of its own."""
        if self._held and start != self._start + len(self._held) // SAMPLE_BYTES:
            self.flush()
        if not self._held:
            self._start = start
        self._held += pcm
        if len(self._held) >= STRETCH_BYTES:
            self.flush()

    def ours(self, wav: bytes, at_ms: int) -> None:
        """A piece of what we said, when the user's sound had come so far."""
        record = SoundRecord(self._id, "assistant", at_ms, "audio/wav", wav, self._wall_s())
        self._archive.write(record)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            at_ms, data = samples_to_ms(self._start), bytes(self._held)
            self._held.clear()
            kind = "audio/pcm;rate=16000"
            self._archive.write(SoundRecord(self._id, "user", at_ms, kind, data, self._wall_s()))
