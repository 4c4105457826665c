"""The embedded recogniser: English, streaming, no download, command grade.

"pocketsphinx" listens for what people say to an assistant, and for what the session hints at (tool names,
a menu, names): one word in ten is wrong there. Other speech it understands badly. "pocketsphinx:dictation" knows
70 000 words and expects nothing: every third word of clear short sentences is wrong, two of three of
difficult recordings. For conversation use a real engine; see docs/engines.md for the measurements.

The decoder holds Python's lock while it works, so the engine lives in a process of its own. Sound costs a twentieth
of its time (a sixth for dictation), a final 10 ms.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from duologue.core.audio import AudioFrame, ms_to_samples
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineRefused, OurError, SetupError
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Flush, Inbox
from duologue.engines.pocketsphinx import hints
from duologue.engines.pocketsphinx.decoders import (
    RATE_HZ,
    AssistantSearches,
    Decoders,
    DictationSearch,
    Spoken,
    Utterances,
)
from duologue.engines.timeline import Timeline
from duologue.ports import Final, Partial, StreamOptions, SttOptions, Word

DICTATION = "dictation"

PARTIAL_SAMPLES = ms_to_samples(300)
"""Sound between two looks at the hypothesis: it changes two or three times a second."""


class Pocketsphinx(BlockingEngine):
    """See the module's head.

    Args:
        argument: "" for the assistant search, "dictation" for the open-vocabulary one.

    Raises:
        SetupError: any other argument.
    """

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", DICTATION):
            raise SetupError(
                "stt_search_unknown",
                f"pocketsphinx has no search '{argument}'.",
                remedy=f"Use 'pocketsphinx' or 'pocketsphinx:{DICTATION}'.",
            )
        self._dictation = argument == DICTATION
        self.capabilities = _DICTATION if self._dictation else SPEC.capabilities
        self._decoders: Decoders | None = None

    def load(self) -> None:
        """Read the models and set up the first decoder; all of them for dictation, for they take 0.2 s each.

        Raises:
            EngineUnavailable: pocketsphinx or its models are missing.
        """
        searches = DictationSearch() if self._dictation else AssistantSearches()
        self._decoders = Decoders(searches.search, self.capabilities.max_streams)
        self._decoders.fill(self.capabilities.max_streams if self._dictation else 1)

    def warm_up(self) -> None:
        """Recognise a second of noise."""
        noise = random.Random(0).randbytes(2 * RATE_HZ)
        with self._ready().lease(()) as utterances:
            utterances.feed(noise)
            utterances.finish()

    def close(self) -> None:
        """Give the decoders back."""
        self._decoders = None

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """Serve one stream; see `BlockingEngine.run`.

        Raises:
            EngineRefused: the session speaks another language than English, or wants a translation.
            AtCapacity: all decoders are taken.
            EngineLost: the decoder failed.
        """
        assert isinstance(options, SttOptions)
        if options.language and options.language.lower()[:3].rstrip("-_") != "en":
            raise EngineRefused(
                "stt_language_not_supported",
                f"pocketsphinx recognises English, not '{options.language}'.",
                remedy="Choose an engine that knows the language, or leave the language open.",
            )
        if options.task == "translate":
            raise EngineRefused(
                "stt_translation_not_supported",
                "pocketsphinx recognises English and translates nothing.",
                remedy="Choose an engine that translates, such as Whisper.",
            )
        phrases = () if self._dictation else hints.phrases(options.hints)
        with self._ready().lease(phrases) as utterances:
            _Stream(utterances, emit, Timeline() if options.word_times else None).serve(inbox)

    def _ready(self) -> Decoders:
        if self._decoders is None:
            raise OurError(
                "engine_not_loaded", "pocketsphinx was asked to run before it was loaded."
            )
        return self._decoders


class _Stream:
    """One stream: sound in, partials and finals out.

    Args:
        timeline: where words have their times from; None if they are not wanted.
    """

    def __init__(self, utterances: Utterances, emit: Emit, timeline: Timeline | None) -> None:
        self._utterances = utterances
        self._emit = emit
        self._timeline = timeline
        self._upto = 0  # end of the last frame fed, in samples of the session's stream
        self._unread = 0  # samples fed since the hypothesis was last looked at
        self._said = ""  # the last partial

    def serve(self, inbox: Inbox) -> None:
        """Until the inbox ends, or nobody wants the rest."""
        for item in inbox:
            if inbox.cancelled:
                return
            if isinstance(item, AudioFrame):
                self._hear(item)
            elif isinstance(item, Flush):
                self._finish(item.id)

    def _hear(self, frame: AudioFrame) -> None:
        self._utterances.feed(frame.pcm)
        if self._timeline is not None:
            self._timeline.add(frame)
        self._upto = frame.end
        self._unread += frame.end - frame.start
        if self._unread >= PARTIAL_SAMPLES:
            self._unread = 0
            text = self._utterances.text()
            if text and text != self._said:
                self._said = text
                self._emit(Partial(text))

    def _finish(self, flush_id: int) -> None:
        text, spoken = self._utterances.finish_with_words()
        words: tuple[Word, ...] = ()
        if self._timeline is not None:
            words = tuple(_word(word, self._timeline) for word in spoken)
            self._timeline.clear()
        self._unread, self._said = 0, ""
        self._emit(Final(flush_id, self._upto, text, words, confidence(spoken)))


def confidence(spoken: Sequence[Spoken]) -> float | None:
    """The geometric mean of the words' probabilities; None where they were not weighed."""
    known = [math.log(word.probability) for word in spoken if word.probability is not None]
    return math.exp(sum(known) / len(known)) if known else None


def _word(spoken: Spoken, timeline: Timeline) -> Word:
    sure = None if spoken.probability is None else math.log(spoken.probability)
    return Word(spoken.text, timeline.ms(spoken.start), timeline.ms(spoken.end), sure)


SPEC = EngineSpec(
    "pocketsphinx",
    Role.STT,
    Capabilities(
        languages=("en",),
        rate_hz=RATE_HZ,
        word_times=True,
        holds_gil=True,
        max_streams=8,
        ram_mib=140,
    ),
    Pocketsphinx,
    is_own_process=True,
    processes=0,
    about="pocketsphinx 5 (BSD), English commands; ':dictation' for open vocabulary",
)

_DICTATION = replace(SPEC.capabilities, max_streams=4, ram_mib=350)
"""A decoder with 70 000 words takes 50 MiB, and one core serves about five talkers with it."""
