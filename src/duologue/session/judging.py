"""Asks the acoustic model whether the user has finished: once a pause, beside the recogniser.

Keeps the last seconds of what is being said for that, and only where there is a model and the session's manners
ask for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, Ms, ms_to_samples
from duologue.core.facts import DraftId, Fact, TurnJudged, UtteranceId
from duologue.ports import TurnEnd

log = logging.getLogger("duologue.session")

HEARD_SAMPLES = ms_to_samples(8_000)
"""As much of a turn as Smart Turn looks at."""


class Judging:
    """The acoustic model's side of one session.

    Args:
        model: None where there is none.
        report: told every fact.
        now: the session's stream clock.
        tasks: owner of the tasks.

    Attributes:
        is_wanted: the session's manners go by more than silence.
    """

    def __init__(
        self,
        model: TurnEnd | None,
        report: Callable[[Fact], None],
        now: Callable[[], Ms],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.is_wanted = False
        self._model = model
        self._report = report
        self._now = now
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._utterance: UtteranceId | None = None
        self._heard: deque[bytes] = deque()
        self._samples = 0

    def write(self, utterance: UtteranceId, frame: AudioFrame) -> None:
        """More sound of an utterance. Who goes on speaking is not asked about the pause before."""
        if self._model is None or not self.is_wanted:
            return
        self._drop()
        if utterance != self._utterance:
            self.forget()
            self._utterance = utterance
        self._heard.append(frame.pcm)
        self._samples += len(frame.pcm) // SAMPLE_BYTES
        while self._samples > HEARD_SAMPLES:
            self._samples -= len(self._heard.popleft()) // SAMPLE_BYTES

    def ask(self, utterance: UtteranceId, draft: DraftId) -> None:
        """The user pauses: have they finished? Always answered, at once where nobody knows."""
        if self._model is None or not self.is_wanted or utterance != self._utterance:
            self._report(TurnJudged(self._now(), utterance, draft, None))
            return
        self._drop()
        work = self._ask(self._model, b"".join(self._heard), utterance, draft)
        self._task = self._tasks.create_task(work, name=f"judging-{utterance}")

    def forget(self) -> None:
        """What was heard is of no more use."""
        self._drop()
        self._utterance = None
        self._heard.clear()
        self._samples = 0

    async def _ask(
        self, model: TurnEnd, pcm: bytes, utterance: UtteranceId, draft: DraftId
    ) -> None:
        try:
            probability = await model.judge(pcm)
        except Exception:
            log.warning("! the end of a turn could not be judged", exc_info=True)
            probability = None
        self._report(TurnJudged(self._now(), utterance, draft, probability))

    def _drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
