"""Hearing what a voice says: a stream's inbox from a list, and its sound and words put together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from duologue.engines.base import BlockingEngine, Flush, Item
from duologue.ports import Audio, Event, Final, Say, TtsOptions


class ListInbox:
    """Gives its items; may be cancelled."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = list(items)
        self.cancelled = False

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


@dataclass(slots=True)
class Spoken:
    """What came of some pieces."""

    events: list[Event]
    rate_hz: int

    @property
    def finals(self) -> list[Final]:
        return [event for event in self.events if isinstance(event, Final)]

    @property
    def audio(self) -> list[Audio]:
        return [event for event in self.events if isinstance(event, Audio)]

    def sound(self, number: int | None = None) -> NDArray[np.int16]:
        pcm = b"".join(a.pcm for a in self.audio if number is None or a.number == number)
        return np.frombuffer(pcm, "<i2")

    def seconds(self, number: int | None = None) -> float:
        return len(self.sound(number)) / self.rate_hz

    def words(self, number: int = 0) -> list[tuple[float, int]]:
        return [word for a in self.audio if a.number == number for word in a.words]


def say(engine: BlockingEngine, *texts: str, options: TtsOptions | None = None) -> Spoken:
    """Each text as a piece, and a flush."""
    events: list[Event] = []
    items: Sequence[Item] = [*(Say(n, t) for n, t in zip(count(), texts, strict=False)), Flush(7)]
    engine.run(options or TtsOptions(), ListInbox(items), events.append)
    return Spoken(events, engine.capabilities.rate_hz)


def level_dbfs(sound: NDArray[np.int16], rate_hz: int) -> float:
    """Root mean square of the 20 ms frames within 30 dB of the loudest."""
    size = rate_hz // 50
    frames = sound[: len(sound) - len(sound) % size].astype(np.float64).reshape(-1, size)
    power = np.mean(frames**2, axis=1)
    return float(10 * np.log10(np.mean(power[power > power.max() / 1000]) / 32768**2))


def pauses_ms(sound: NDArray[np.int16], rate_hz: int, below_dbfs: float = -45) -> list[float]:
    """Silences of 50 ms and more within the sound."""
    size = rate_hz // 200
    frames = sound[: len(sound) - len(sound) % size].astype(np.float64).reshape(-1, size)
    silent = np.mean(frames**2, axis=1) < (32768 * 10 ** (below_dbfs / 20)) ** 2
    edges = np.flatnonzero(np.diff(np.concatenate(([False], silent, [False])).astype(int)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return [
        (end - start) * 5.0
        for start, end in runs
        if start and end < len(silent) and end - start >= 10
    ]


HOSTILE = (
    "",
    " ",
    "\n\n\n",
    "...",
    "?!",
    "—",
    "**",
    "```",
    "```python\n",
    "|---|---|",
    "🥛",
    "👩‍👩‍👧‍👦 🇩🇪 1️⃣",
    "\x00",
    "a\x00b",
    "\x00" * 500 + "end",
    "\ud800 lone \udfff",
    "\ufeff\u200b\u200d\u2028\u2029\x85",
    "\x01\x1b[31mred\x07",
    "[[h@'loU]] <speak>hi</speak> <mark name='x'/> &#65; &amp;",
    "x" * 5_000,
    "." * 5_000,
    "a" + "!" * 2_000 + "b",
    "-" * 3_000,
    "'" * 3_000,
    "1" * 1_500,
    "$" * 700,
    "1,000," * 200,
    "A.B." * 300,
    "word " * 2_000,
    "The end. " * 400,
    "你好" * 300,
    "אבג דהו " * 50,
    "Z̸̢̛͈̘a̷͎͝l̴̪̈g̸̻̈o̶͔̎ " * 40,
    "(" * 300 + ")" * 300,
    "http://" + "a" * 2_000,
    "[" * 500 + "](" * 500,
    "`~_*#>-+|\\/@$%^&=<>{}[]()\"':;,.?!",
    "a's b'll c''''d tve 'tve 5' 6\" 1/2 3/0 -1 99:99 1st 2nd 1e999",
)
"""Texts that have nothing to say, or would rather break a synthesiser than be spoken."""
