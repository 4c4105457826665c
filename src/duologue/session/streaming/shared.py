"""What all streaming sessions of a process share, and what one begins with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from duologue.core.capabilities import Capabilities
from duologue.core.records import ItemRecord, SessionRecord
from duologue.core.streaming import SoundFormat, StreamOptions
from duologue.ports import Archive, Clock, EnginePool
from duologue.session.hearing import Hearing
from duologue.session.meters import Meters
from duologue.session.streaming.intake import Decoder
from duologue.session.streaming.replies import Means
from duologue.session.streaming.workers import Workers


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a session may take.

    Attributes:
        chunk_bytes: of one chunk.
        buffer_bytes: of sound that is not transcribed yet, in all its stages.
        idle_s: without a sign of the client until the session ends.
        length_s: until it ends in any case, unless it is renewed.
        sessions: at a time.
        seats: listeners of one session.
    """

    chunk_bytes: int = 1 * 2**20
    buffer_bytes: int = 10 * 2**20
    idle_s: float = 3_600.0
    length_s: float = 3_600.0
    sessions: int = 200
    seats: int = 32


@dataclass(frozen=True, slots=True)
class Shared:
    """The surroundings of a session.

    Attributes:
        clock: monotonic milliseconds; wall_s: seconds since 1970.
        make_decoder: for raw samples of so many a second where a chunk says nothing; and what chunks were before.
        recognisers: what the recognisers that are up can do, in order of preference.
        check: raises a `ClientError` for settings that nothing here can serve.
    """

    pool: EnginePool
    hearing: Hearing
    meters: Meters
    archive: Archive
    clock: Clock
    wall_s: Callable[[], float]
    bounds: Bounds
    listeners: Workers
    speech: Means
    make_decoder: Callable[[int, SoundFormat], Decoder]
    recognisers: Callable[[], Sequence[Capabilities]]
    check: Callable[[StreamOptions], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Restored:
    """A session as the store has it."""

    record: SessionRecord
    items: Sequence[ItemRecord]
