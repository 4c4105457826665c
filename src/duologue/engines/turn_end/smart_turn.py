"""Smart Turn v3: how likely it is that a speaker has finished, by the sound of the last 8 s.

A Whisper encoder (tiny) with a small head, in 8 bits: [N, 80, 800] of `log_mel` in, a probability out. One ONNX
Runtime session serves all sessions of the server. A judgement takes tens of milliseconds, so it is made in a thread
of the engine's own, and few may wait: an answer that comes late is worth nothing to a pause.

It takes many pauses inside sentences for ends, so no turn should be ended on its word alone. Its 8 bits make that
word jump by some 0.03 where the features differ in the sixth decimal: nothing finer should hang on it.
"""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineLost, EngineUnavailable
from duologue.engines.base import Engine, EngineSpec
from duologue.engines.models import store
from duologue.engines.onnx import open_model
from duologue.engines.turn_end.log_mel import BANDS, FRAMES, log_mel

log = logging.getLogger("duologue.turn_end")

NAME = "smart-turn"
"""As an engine, and as a model in the models folder."""

WAITING = 4
"""Judgements that may wait for a thread; some 0.2 s for the last of them."""

LANGUAGES = tuple("ar bn da de en es fi fr hi id it ja ko mr nl no pl pt ru tr uk vi zh".split())
"""As the model's page lists them."""


class SmartTurn(Engine):
    """See `ports.TurnEnd`.

    Args:
        path: of the ONNX file; empty for the one that came with the package.
        threads: judgements at a time; each keeps one core busy.
    """

    def __init__(self, path: str = "", *, threads: int = 1) -> None:
        self.capabilities = SPEC.capabilities
        self._path = Path(path).expanduser() if path else packaged()
        self._session: Any = None
        self._input = ""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="turn-end")
        self._places = threading.BoundedSemaphore(threads + WAITING)
        self._has_failed = False

    def load(self) -> None:
        """Open the model.

        Raises:
            EngineUnavailable: ONNX Runtime or the file is not there, or the file is not such a model.
        """
        try:
            session = open_model(
                self._path,
                without="Turns cannot be judged by their sound",
                code="turn_model_missing",
                remedy=f"Run `duologue models pull {NAME}`, or `python hatch_build.py` in a checkout; "
                "or go without it.",
            )
        except EngineUnavailable:
            raise
        except Exception as error:  # outer wall: ONNX Runtime's errors have no base but this one
            raise self._unfit(str(error).splitlines()[0]) from error
        self._input = self._check(session)
        self._session = session

    def warm_up(self) -> None:
        """Judge silence.

        Raises:
            EngineUnavailable: what comes out is no probability.
        """
        try:
            self.probability(b"")
        except EngineLost as error:
            raise self._unfit(error.message) from error

    def probability(self, pcm: bytes) -> float:
        """What `judge` says, in the caller's thread: for benches.

        Raises:
            EngineLost: it is not loaded, or the model gave no probability.
        """
        session = self._session
        if session is None:
            raise EngineLost("turn_model_closed", "The judge of turns is not loaded.")
        verdict = session.run(None, {self._input: log_mel(pcm)[None]})[0]
        probability = float(verdict.reshape(-1)[0])
        if not 0 <= probability <= 1:  # which NaN is not either
            raise EngineLost(
                "turn_model_broke", f"The judge of turns answered {probability}, not a probability."
            )
        return probability

    async def judge(self, pcm: bytes) -> float | None:
        """How likely the speaker has finished; see `ports.TurnEnd.judge`.

        Returns:
            None at once if too many wait or the engine is not loaded, and later if the model fails.
        """
        if self._session is None or not self._places.acquire(blocking=False):
            return None
        job = self._threads.submit(self._judge, pcm)
        job.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Give model and threads back. What waits is answered with None; what runs is waited for."""
        self._session = None
        self._threads.shutdown()

    def _judge(self, pcm: bytes) -> float | None:
        if self._session is None:
            return None
        try:
            return self.probability(pcm)
        except Exception as error:  # noqa: BLE001 - outer wall of an engine: its bug costs a turn the model's word only
            if not self._has_failed:
                log.warning("! the judge of turns failed, turns end without it: %s", error)
            self._has_failed = True
            return None

    def _check(self, session: Any) -> str:
        """The name of its one input, if the model takes and gives what it should."""
        takes, gives = session.get_inputs(), session.get_outputs()
        expected = [BANDS, FRAMES]
        if len(takes) != 1 or takes[0].shape[1:] != expected or takes[0].type != "tensor(float)":
            found = ", ".join(f"{one.type} {one.shape}" for one in takes)
            raise self._unfit(f"it takes {found or 'nothing'}, not one float tensor [N, 80, 800]")
        if gives[0].shape[1:] not in ([], [1]) or gives[0].type != "tensor(float)":
            raise self._unfit(f"it gives {gives[0].type} {gives[0].shape}, not one float a turn")
        return str(takes[0].name)

    def _unfit(self, why: str) -> EngineUnavailable:
        return EngineUnavailable(
            "turn_model_unfit",
            f"Turns cannot be judged by their sound: {self._path} is not a Smart Turn v3 model ({why}).",
            remedy=f"Run `duologue models pull {NAME} --again`, or name another file with "
            f"{NAME}:/path/to/it.onnx.",
        )


def packaged() -> Path:
    """Where the file is that comes with the package; it may not have been had when that was built."""
    return Path(str(files("duologue") / "assets/smart_turn.onnx"))


def in_folder(argument: str, models_folder: Path) -> str:
    """The path of the file: as given, of a model in the models folder, or of the package's own.

    Raises:
        EngineUnavailable: there is no model of that name.
    """
    if "/" in argument or argument.startswith((".", "~")):
        return argument
    if argument:
        return str(store.find(argument, models_folder))
    if not packaged().is_file() and (models_folder.expanduser() / NAME).is_dir():
        return str(store.find(NAME, models_folder))
    return ""


SPEC = EngineSpec(
    NAME,
    Role.TURN,
    Capabilities(
        languages=LANGUAGES,
        rate_hz=16_000,
        streaming=False,
        max_streams=1 + WAITING,
        ram_mib=50,
    ),
    SmartTurn,
    about="Smart Turn v3.2 (BSD-2) on ONNX Runtime",
    locate=in_folder,
)
"""`ram_mib` is measured, beside Silero, which has ONNX Runtime loaded already."""
