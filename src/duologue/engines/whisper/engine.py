"""Recognition by Whisper, on faster-whisper and CTranslate2: of conversation grade, in a hundred languages.

    --stt whisper:small                 a model of the models folder (`duologue models pull small`)
    --stt whisper:/path/to/model        a folder in CTranslate2's format
    --stt whisper:small@cpu:4           on the CPU with four threads; @cuda:1 on the second GPU
    --stt whisper:small@cuda/int8_float16   in another precision than the device's usual one
    --stt whisper:small?batch=4         up to four sessions in a call, whatever the warm-up finds

One model serves all streams through `shared_model`: each stream collects its sound, and asks for a final at
each flush and for a partial about once a second. Nothing is ever downloaded here.

Whatever its length, sound is padded to the 30 s that Whisper was trained on, so a call has a price that
hardly depends on how much was said. Several sessions share a call where the warm-up found that it pays: it
does on a GPU, which one piece does not fill, and hardly on a CPU (bench/batching.py).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from duologue.core.audio import AudioFrame, ms_to_samples
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineRefused
from duologue.core.languages import family
from duologue.core.segments import joined
from duologue.engines.base import (
    BlockingEngine,
    Emit,
    EngineSpec,
    Flush,
    Inbox,
    Item,
)
from duologue.engines.models import store as models
from duologue.engines.models.store import DEFAULT_FOLDER
from duologue.engines.timeline import Timeline
from duologue.engines.whisper import files, load
from duologue.engines.whisper.shared_model import Job, SharedModel, wall_ms
from duologue.engines.whisper.speech_window import Samples, SpeechWindow, is_audible
from duologue.engines.whisper.transcriber import Heard, Manner, Transcriber, Work, kind
from duologue.ports import Clock, Final, Partial, StreamOptions, SttOptions, Word

log = logging.getLogger("duologue.engines")

MAX_STREAMS = 32
"""Streams of one model at most; fewer where it is slow, see `ANSWER_WITHIN_S`."""

MIN_STREAMS = 2
"""A speaker may go on while the previous utterance is still being transcribed."""

ANSWER_WITHIN_S = 4.0
"""If all streams ask at once, the last is to be answered within this: below the five seconds after which the
resilient pool gives an engine up. So a slow machine takes fewer streams instead of losing them."""

WARM_UP_MS = 3_000
"""As long as a spoken command."""

BATCHES = (2, 4, 8)
"""Sessions in a call that the warm-up tries. A batch must be done before, called singly, its sessions would have
been on average: otherwise those who came first pay for those who came last."""

TRY_AGAIN_MS = 500
"""A call of a new size also pays for memory the first time; it is tried again if that does not take long."""

SLOW_MS = 1_500
"""A call of this length makes a conversation halting; the log says so."""

PARTIAL_EVERY_MS = 1_000
"""New sound between two partials of a stream; a word or three."""

POLL_S = 0.025
"""How often a stream that waits for the model looks whether anybody still wants it; the seam allows 50 ms."""

FINAL_BEAMS = 5
"""As in the Whisper paper. Costs some 5 % more than greedy search here, for the encoder costs the most."""

HINT_CHARS = 600
"""Hints are cut after this, at a phrase: about 150 tokens of English, of which Whisper takes up to 223."""


class Whisper(BlockingEngine):
    """See the module.

    Args:
        argument: see `files.placed`; MODEL is a folder, or a name in the models folder.
        clock: by which the model's calls are timed.
    """

    def __init__(self, argument: str = "", *, clock: Clock = wall_ms) -> None:
        self.capabilities = SPEC.capabilities
        self._placement = files.placed(argument)
        self._clock = clock
        self._model: Any = None
        self._shared: SharedModel[Work, Heard] | None = None
        self._languages: frozenset[str] = frozenset()

    def load(self) -> None:
        """Open the model on the first device that works.

        Raises:
            EngineOutOfMemory: it does not fit where it was asked to be.
            EngineUnavailable: faster-whisper, the model or a file of it is missing, or no device works.
        """
        whisper = load.library()
        folder = files.folder_of(self._placement, DEFAULT_FOLDER)
        files.check(folder)
        self._model = load.open_model(whisper, folder, self._placement)
        languages = tuple(self._model.supported_languages)
        self._languages = frozenset(languages)
        self.capabilities = replace(
            self.capabilities, languages=languages, translates=len(languages) > 1
        )
        self._shared = SharedModel(Transcriber(self._model), kind=kind, clock=self._clock)

    def warm_up(self) -> None:
        """Run what streams will ask for, and see how many of them this machine can answer in time.

        Raises:
            EngineError: the model does not run.
        """
        assert self._shared is not None
        call_ms = min(self._call_ms(1), self._call_ms(1))  # the first also pays for memory
        batch, batch_ms = self._batch(call_ms)
        self._shared.most = batch
        streams = int(ANSWER_WITHIN_S * 1000 / batch_ms * batch)
        streams = max(MIN_STREAMS, min(MAX_STREAMS, streams))
        self.capabilities = replace(self.capabilities, max_streams=streams)
        level = logging.WARNING if call_ms > SLOW_MS else logging.INFO
        log.log(
            level,
            "~ whisper takes %.0f ms a call here, and %.0f ms for %d at once: %d streams",
            *(call_ms, batch_ms, batch, streams),
        )

    def _batch(self, call_ms: float) -> tuple[int, float]:
        """How many sessions are to share a call at most, where one alone takes so long; and how long they take."""
        asked = self._placement.option("batch")
        best = 1, call_ms
        for size in (int(asked),) if asked else BATCHES:
            fair_ms = math.inf if asked else call_ms * (size + 1) / 2
            took_ms = self._call_ms(size)
            if fair_ms < took_ms < TRY_AGAIN_MS:
                took_ms = self._call_ms(size)
            if took_ms >= fair_ms:
                break
            best = size, took_ms
        return best

    def _call_ms(self, size: int) -> float:
        """How long a call takes for so many sessions; endless if there is no memory for it."""
        shared = self._shared
        assert shared is not None
        sound = np.random.default_rng(0).normal(0, 0.05, ms_to_samples(WARM_UP_MS))
        work = Work(sound.astype(np.float32), FINAL_BEAMS)
        shared.most = size
        for job in shared.ask_at_once(self, [work] * size, is_final=True):
            job.wait(None)
            job.answer()
        return shared.last_call_ms if shared.most == size else math.inf

    def close(self) -> None:
        """Stop the model's thread and let the model go."""
        if self._shared is not None:
            self._shared.close()
        self._shared = self._model = None

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`.

        Raises:
            EngineRefused: a translation is wanted of a model that knows only English.
        """
        assert isinstance(options, SttOptions)
        shared = self._shared
        assert shared is not None
        if options.task == "translate" and not self.capabilities.translates:
            raise EngineRefused(
                "stt_translation_not_supported",
                "This Whisper model knows only English and translates nothing.",
                remedy="Use a model without '.en' in its name.",
            )
        stream = _Stream(shared, self._asked(options), inbox, emit)
        try:
            for item in inbox:
                stream.take(item)
        finally:
            shared.withdraw(stream)

    def _asked(self, options: SttOptions) -> Manner:
        language = family(options.language)
        if language and language not in self._languages:
            log.info("~ whisper does not know the language '%s', and detects it", language)
            language = ""
        if len(self._languages) == 1:
            (language,) = self._languages
        translates = options.task == "translate"
        return Manner(language, _hotwords(options.hints), translates, options.word_times)


class _Stream:
    """One utterance."""

    def __init__(
        self, shared: SharedModel[Work, Heard], manner: Manner, inbox: Inbox, emit: Emit
    ) -> None:
        self._shared = shared
        self._manner = manner
        self._inbox = inbox
        self._emit = emit
        self._window = SpeechWindow()
        self._upto = 0
        self._timeline = Timeline() if manner.word_times else None
        # pieces that outgrew the window since the last flush, and the sample of the utterance where each begins
        self._settled: list[tuple[Job[Work, Heard], int]] = []
        self._settled_upto = 0
        self._partial: Job[Work, Heard] | None = None
        self._partial_at = ms_to_samples(PARTIAL_EVERY_MS)
        self._said = ""

    def take(self, item: Item) -> None:
        """The next of the inbox."""
        if isinstance(item, AudioFrame):
            self._hear(item)
        elif isinstance(item, Flush):
            self._finish(item.id)

    def _hear(self, frame: AudioFrame) -> None:
        self._upto = frame.end
        if self._timeline is not None:
            self._timeline.add(frame)
        if (piece := self._window.add(frame.pcm)) is not None:
            self._settle(piece)
        self._tell_partial()
        if self._window.samples >= self._partial_at:
            self._partial_at = self._window.samples + ms_to_samples(PARTIAL_EVERY_MS)
            sound = self._window.peek()
            if is_audible(sound):
                work = Work(sound, 1, self._manner)
                self._partial = self._shared.ask(self, work, is_final=False)

    def _settle(self, piece: Samples) -> None:
        """Have a piece transcribed for good; what is said of it before is no longer wanted."""
        self._partial = None
        self._partial_at = ms_to_samples(PARTIAL_EVERY_MS)
        begin, self._settled_upto = self._settled_upto, self._settled_upto + len(piece)
        if is_audible(piece):
            work = Work(piece, FINAL_BEAMS, self._manner, with_words=self._manner.word_times)
            self._settled.append((self._shared.ask(self, work, is_final=True), begin))

    def _tell_partial(self) -> None:
        if self._partial is None or not self._partial.is_over:
            return
        partial, self._partial = self._partial, None
        try:
            settled = [job.answer().text for job, _ in self._settled]
            text = joined([*settled, partial.answer().text])
        except EngineError:
            return  # the final will say so, if it fails as well
        if text != self._said:
            self._said = text
            self._emit(Partial(text))

    def _finish(self, flush_id: int) -> None:
        self._settle(self._window.take())
        outcomes = [(self._outcome(job), begin) for job, begin in self._settled]
        self._settled.clear()
        self._settled_upto = 0
        self._said = ""
        text = joined([heard.text for heard, _ in outcomes])
        longest = max(
            (heard for heard, _ in outcomes), key=lambda h: len(h.text), default=Heard("")
        )
        words = self._words(outcomes)
        self._emit(Final(flush_id, self._upto, text, words, language=longest.language))

    def _words(self, outcomes: Sequence[tuple[Heard, int]]) -> tuple[Word, ...]:
        timeline = self._timeline
        if timeline is None:
            return ()
        words = tuple(
            Word(
                word.text,
                timeline.ms(begin + word.start),
                timeline.ms(begin + word.end),
                word.logprob,
            )
            for heard, begin in outcomes
            for word in heard.words
        )
        timeline.clear()
        return words

    def _outcome(self, job: Job[Work, Heard]) -> Heard:
        return job.outcome(lambda: self._inbox.cancelled, POLL_S)


def _hotwords(hints: tuple[str, ...]) -> str:
    """Hints as one line; a hint must not hold what the model takes for a control token."""
    line = ""
    for hint in hints:
        phrase = " ".join(hint.replace("<|", " ").split())
        longer = f"{line}, {phrase}" if line else phrase
        if len(longer) > HINT_CHARS:
            break
        line = longer
    return line


SPEC = EngineSpec(
    "whisper",
    Role.STT,
    Capabilities(
        rate_hz=16_000, streaming=False, word_times=True, max_streams=MAX_STREAMS, ram_mib=320
    ),
    Whisper,
    about="Whisper (MIT) on faster-whisper: conversation grade",
    locate=models.in_folder,
)
"""`ram_mib` is measured, of the base model in 8 bits; tiny takes 240, small 610."""
