"""Three classes of client, as far as turn-taking hears them: what each does with sound that was sent to it.

stock    a client of the OpenAI Realtime API over WebSocket: plays what it gets in order, at once; when it is told
         that speech started it drops what it has in hand. Of a hold it knows nothing: what was sent plays out.
v1       a client that negotiated `duologue.v1`: told of a hold, it fades out within 20 ms and keeps the rest; told to
         go on, it plays that first.
webrtc   a live track behind a jitter buffer of `JITTER_MS`; the server sends it less far ahead, and nothing can be
         taken back: what is in the buffer plays out.

The network takes no time: what a real one takes comes on top, for every class alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.turns.loudspeaker import SAMPLES_PER_MS, Loudspeaker
from duologue.core.notices import (
    Notice,
    OutputHeld,
    OutputResumed,
    PlaybackBegan,
    PlaybackEnded,
    SpeechBegan,
)
from duologue.session.mouth import LEAD_MS
from duologue.session.session import Session
from duologue.session.watching import Watch
from duologue.session.world import World

FADE_MS = 20

JITTER_MS = 40
"""A browser's jitter buffer on a quiet network holds 20 to 40 ms (WebRTC's NetEQ aims at the 97th percentile of the
packets' spread, and at no less than one packet)."""

WEBRTC_LEAD_MS = 40.0
"""`transports.webrtc.LEAD_MS`, which cannot be imported without the extra; a test compares them where it can."""

Sound = NDArray[np.int16]


@dataclass(frozen=True)
class Told:
    """A notice, and when it came: milliseconds since the conversation began."""

    at_ms: float
    notice: Notice


@dataclass
class Client:
    """A listener; see `ports.Listener`. This one is the stock WebSocket client.

    Attributes:
        told: everything that the server said, but the sound.
        sent: (when, samples) of the sound that came.
    """

    clock: Callable[[], float]
    speaker: Loudspeaker = field(default_factory=Loudspeaker)
    told: list[Told] = field(default_factory=list)
    sent: list[tuple[float, int]] = field(default_factory=list)
    lead_ms: float = LEAD_MS
    buffer_ms: int = 0

    def furnish(self, session: Session, world: World) -> None:
        """What the connection of such a client does with a session that begins."""

    def over(self) -> None:
        """The session has ended."""

    def tell(self, notice: Notice) -> None:
        self.told.append(Told(self.clock(), notice))
        self.react(notice)

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        sound = np.frombuffer(pcm, np.int16)
        self.sent.append((self.clock(), len(sound)))
        self.speaker.play(self._at(self.buffer_ms), sound, reply_id)

    def unsent(self) -> int:
        return 0

    def react(self, notice: Notice) -> None:
        """Do what such a client does."""
        if isinstance(notice, SpeechBegan):
            self.speaker.cut(self._at())

    def of(self, *kinds: type[Any]) -> list[Told]:
        """The notices of these kinds."""
        return [told for told in self.told if isinstance(told.notice, kinds)]

    def began(self) -> Iterator[tuple[float, str]]:
        """When each answer became audible, and which."""
        for told in self.told:
            if isinstance(told.notice, PlaybackBegan):
                yield told.at_ms, told.notice.reply_id

    def stopped(self) -> Iterator[tuple[float, str]]:
        """When an answer was broken off, and which."""
        for told in self.told:
            if isinstance(told.notice, PlaybackEnded) and told.notice.cut:
                yield told.at_ms, told.notice.reply_id

    def _at(self, later_ms: int = 0) -> int:
        return round((self.clock() + later_ms) * SAMPLES_PER_MS)


@dataclass
class ExtendedClient(Client):
    """A client that speaks `duologue.v1`."""

    session: Session | None = None
    kept: list[tuple[Sound, str]] = field(default_factory=list)

    def furnish(self, session: Session, world: World) -> None:
        self.session = session
        session.watch = Watch(session, world.pacer)
        session.mouth.is_obeyed = True

    def over(self) -> None:
        if self.session is not None and self.session.watch is not None:
            self.session.watch.close()

    def tell(self, notice: Notice) -> None:
        super().tell(notice)
        if self.session is not None and self.session.watch is not None:
            self.session.watch.noticed(notice)

    def react(self, notice: Notice) -> None:
        match notice:
            case SpeechBegan():
                self.kept = []
                self.speaker.cut(self._at(), FADE_MS * SAMPLES_PER_MS)
            case OutputHeld():
                self.kept = self.speaker.cut(self._at(), FADE_MS * SAMPLES_PER_MS) + self.kept
            case OutputResumed():
                kept, self.kept = self.kept, []
                for sound, reply in kept:
                    self.speaker.play(self._at(), sound, reply)
            case _:
                pass

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        if self.kept:  # the server goes on before it has said so: in order, all the same
            self.sent.append((self.clock(), len(pcm) // 2))
            self.kept.append((np.frombuffer(pcm, np.int16), reply_id))
        else:
            super().sound(reply_id, index, item_id, pcm)


@dataclass
class WebRtcClient(Client):
    """A browser with a live track."""

    lead_ms: float = WEBRTC_LEAD_MS
    buffer_ms: int = JITTER_MS

    def react(self, notice: Notice) -> None:
        """It has no say in what plays."""


CLASSES: dict[str, type[Client]] = {
    "stock": Client,
    "v1": ExtendedClient,
    "webrtc": WebRtcClient,
}
