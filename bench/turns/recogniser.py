"""The embedded recogniser in virtual time: its own code, fed the very frames, while the clock stands.

A `Final` comes `final_ms` after the flush; a `Partial` with the sound that it is about, every 300 ms, as the engine
gives them. What it finds depends on nothing but the sound of its stream, so it is kept by that sound's hash, and the
decoder is not even started where all of it is known.
"""

from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Protocol

from bench.turns.store import Store, digest
from duologue.core.audio import STREAM, AudioFrame
from duologue.engines.fakes import FakeStream
from duologue.engines.pocketsphinx.decoders import AssistantSearches, Decoders, Utterances
from duologue.engines.pocketsphinx.engine import PARTIAL_SAMPLES, confidence
from duologue.ports import Final, Offer, Partial

FINAL_MS = 30.0
"""From a flush to its transcript; the embedded engine takes 10 to 20 ms (bench/RESULTS.md) and a process hop."""

MANY = 10_000

_FLUSH = b"flush"


class Reader(Protocol):
    """What hears one stream."""

    def heard(self, sound: bytes) -> None:
        """More sound."""

    def partial(self) -> str:
        """What it seems to be so far."""

    def final(self) -> tuple[str, float | None]:
        """What it was, and how sure that is; the next sound begins another."""

    def close(self) -> None:
        """Nothing more comes."""


class Recogniser(Protocol):
    """Gives each stream its reader."""

    name: str

    def open(self) -> Reader:
        """A fresh one."""


class Anything:
    """In place of a recogniser: any sound at all is a word, and nothing is known before its end."""

    name = "none"

    def open(self) -> Reader:
        return _AnyReader()


class _AnyReader:
    def __init__(self) -> None:
        self._samples = 0

    def heard(self, sound: bytes) -> None:
        self._samples += len(sound) // 2

    def partial(self) -> str:
        return ""

    def final(self) -> tuple[str, float | None]:
        samples, self._samples = self._samples, 0
        return "words" if samples else "", None

    def close(self) -> None:
        pass


class Sphinx:
    """The embedded engine's decoders, started at the first sound that nobody has heard before.

    Args:
        store: what it found before.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.decoders: Decoders | None = None
        try:
            release = version("pocketsphinx")
        except PackageNotFoundError:
            release = "missing"
        phrases = files("duologue.engines.pocketsphinx") / "assistant_phrases.txt"
        self.name = f"pocketsphinx {release} {digest(phrases.read_bytes()).hex()[:8]}"

    def open(self) -> Reader:
        return _SphinxReader(self)

    def ready(self) -> Decoders:
        """The decoders, loaded when they are first needed."""
        if self.decoders is None:
            self.decoders = Decoders(AssistantSearches().search, MANY)
        return self.decoders


class _SphinxReader:
    """The chain of hashes stands for all that the decoder has been fed, and where it was flushed."""

    def __init__(self, engine: Sphinx) -> None:
        self._engine = engine
        self._chain = digest(engine.name)
        self._unfed: list[bytes] = []
        self._lease = ExitStack()
        self._utterances: Utterances | None = None

    def heard(self, sound: bytes) -> None:
        self._chain = digest(self._chain, sound)
        self._unfed.append(sound)

    def partial(self) -> str:
        key = digest(self._chain, b"partial")
        text = self._engine.store.get(key)
        if text is None:
            text = self._caught_up().text()
            self._engine.store.put(key, text)
        return text

    def final(self) -> tuple[str, float | None]:
        key = digest(self._chain, _FLUSH)
        found = self._engine.store.get(key)
        if found is None:
            text, words = self._caught_up().finish_with_words()
            sure = confidence(words)
            found = f"{'' if sure is None else sure}\t{text}"
            self._engine.store.put(key, found)
        else:
            self._unfed.append(_FLUSH)
        self._chain = key
        known, _, text = found.partition("\t")
        return text, float(known) if known else None

    def close(self) -> None:
        self._lease.close()

    def _caught_up(self) -> Utterances:
        """A decoder that has heard all of it."""
        if self._utterances is None:
            self._utterances = self._lease.enter_context(self._engine.ready().lease(()))
        for sound in self._unfed:
            if sound is _FLUSH:
                self._utterances.finish()
            else:
                self._utterances.feed(sound)
        self._unfed.clear()
        return self._utterances


class SttStream(FakeStream):
    """One utterance; see `ports.EngineStream`."""

    def __init__(self, reader: Reader, final_ms: float) -> None:
        super().__init__(STREAM.rate_hz)
        self._reader = reader
        self._final_ms = final_ms
        self._upto = 0
        self._unread = 0
        self._said = ""

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._reader.heard(item.pcm)
        self._upto = item.end
        self._unread += item.end - item.start
        if self._unread >= PARTIAL_SAMPLES:
            self._unread = 0
            text = self._reader.partial()
            if text and text != self._said:
                self._said = text
                self._out.put(Partial(text))
        return True

    def flush(self, flush_id: int) -> None:
        text, sure = self._reader.final()
        self._unread, self._said = 0, ""
        final = Final(flush_id, self._upto, text, confidence=sure)
        self.after(self._final_ms, lambda: self._out.put(final))

    async def aclose(self, *, cancel: bool = False) -> None:
        await super().aclose(cancel=cancel)
        self._reader.close()
