"""ONNX Runtime for voices: a session on the device that was asked for, and one thread that runs it.

Requests are served in the order in which they are asked for, one part of somebody's text at a time, so streams
take turns. A stream that is no longer wanted leaves at once, and what runs for it is told to stop, which ONNX Runtime
does before its next operator.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import is_out_of_memory
from duologue.core.placement import Placement
from duologue.engines.base import StreamCancelled
from duologue.engines.cores import spare_cores

log = logging.getLogger("duologue.engines")

MOST_THREADS = 8
"""Of a CPU; the small matrices of these models gain little from more."""

WARM_UP_S = 6.0
"""Of all runs but the last; a machine so slow that one takes longer is not made fit for talk by more of them."""

BUSY = 0.7
"""Share of the time that the network may be at work, all streams together."""

POLL_S = 0.01
"""How often a stream that waits looks whether it is still wanted; the seam allows 50 ms."""

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def open_session(
    path: Path, placement: Placement, engine: str, content: bytes | None = None
) -> Any:
    """An `onnxruntime.InferenceSession` on the GPU if there is one that works, otherwise on the CPU.

    Texts differ in length, so shapes never repeat: no memory plan is kept for each (`enable_mem_pattern`), and cuDNN
    chooses its convolutions by rule instead of trying all of them at each new shape, which stalls it. Idle threads
    sleep: spinning, two of them took a quarter more of two busy cores for the same speech, and longer
    (Kokoro with random weights of its true size: 3.1 against 2.5 s of CPU for 3.6 s of sound, 11 against 9 s).

    Args:
        engine: its name, for what is said in errors.
        content: what to open instead of the file.

    Raises:
        EngineUnavailable: ONNX Runtime is missing, the file is no model, or the device asked for does not work.
        EngineOutOfMemory: it does not fit.
    """
    onnxruntime = _library(engine)
    model = content or str(path)
    if placement.device == "mps":
        raise EngineUnavailable(
            f"{engine}_device_unsupported",
            f"{engine} runs on a CPU or an NVIDIA GPU, not on mps.",
            remedy=f"Write {engine}:{placement.model}@cpu.",
        )
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if placement.device == "cuda" and not has_cuda:
        raise _without_cuda(engine, "the installed ONNX Runtime is the one for CPUs")
    if placement.device != "cpu" and has_cuda:
        session = _open(onnxruntime, model, placement, engine, on_gpu=True)
        if session.get_providers()[0] == CUDA:
            return session
        if placement.device == "cuda":
            raise _without_cuda(engine, "ONNX Runtime fell back to the CPU; its log says why")
        log.warning("! %s: CUDA does not work here, running on the CPU", engine)
    return _open(onnxruntime, model, placement, engine, on_gpu=False)


def _open(
    onnxruntime: Any, model: str | bytes, placement: Placement, engine: str, *, on_gpu: bool
) -> Any:
    options = onnxruntime.SessionOptions()
    threads = placement.number if placement.device == "cpu" else None
    options.intra_op_num_threads = threads or spare_cores(MOST_THREADS)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[Any] = [CPU]
    if on_gpu:
        cuda = {
            "device_id": placement.number or 0,
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        providers = [(CUDA, cuda), CPU]
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:
        if is_out_of_memory(error):
            raise EngineOutOfMemory(
                f"{engine}_out_of_memory", f"{engine} does not fit into the memory that is free."
            ) from error
        raise EngineUnavailable(
            f"{engine}_not_loadable",
            f"The model of {engine} cannot be loaded: {_first_line(error)}.",
            remedy="Fetch it again with `duologue models pull NAME --again`.",
        ) from error


def timed_warm_up(say: Callable[[str], int], texts: Sequence[str], rate_hz: int) -> float:
    """Say texts twice over until `WARM_UP_S` are spent; seconds that a second of speech takes, at the best.

    Args:
        say: makes a text's sound, and gives its length in samples.
        texts: the first of them is said whatever it takes.
    """
    ratios: list[float] = []
    start = time.perf_counter()
    for text in (*texts, *texts):
        began = time.perf_counter()
        if ratios and began - start > WARM_UP_S:
            break
        samples = say(text)
        ratios.append((time.perf_counter() - began) * rate_hz / max(1, samples))
    return min(ratios)


def streams_for(ratio: float, most: int) -> int:
    """How many streams an engine serves that takes `ratio` seconds for a second of speech: always two, for a speaker
    may be interrupted and answered before what was being said has ended."""
    return max(2, min(most, int(BUSY / max(1e-3, ratio))))


class Inference:
    """A session, and the thread that runs it.

    Args:
        session: an `onnxruntime.InferenceSession`.
        engine: its name, for what is said in errors.
    """

    def __init__(self, session: Any, engine: str) -> None:
        self.session = session
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, engine)

    def run(self, feed: Mapping[str, Any], cancelled: Callable[[], bool]) -> list[Any]:
        """All outputs, in the order of the file.

        Raises:
            StreamCancelled: nobody wants them any more; at most `POLL_S` after that.
            EngineLost: the session failed.
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        job = self._thread.submit(self.session.run, None, dict(feed), options)
        while True:
            try:
                outputs: list[Any] = job.result(timeout=POLL_S)
            except TimeoutError:
                if cancelled():
                    options.terminate = True
                    job.cancel()
                    raise StreamCancelled from None
            except Exception as error:
                raise self._lost(error) from error
            else:
                return outputs

    def close(self) -> None:
        """Let the session go once what runs has ended."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.session = None

    def _lost(self, error: Exception) -> EngineError:
        if is_out_of_memory(error):
            return EngineOutOfMemory(
                f"{self._engine}_out_of_memory", f"{self._engine} ran out of memory."
            )
        return EngineLost(f"{self._engine}_failed", f"{self._engine} failed: {_first_line(error)}.")


def _library(engine: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            "onnxruntime_missing",
            f"{engine} cannot speak: ONNX Runtime is not installed.",
            remedy="Install duologue[server].",
        ) from error
    return onnxruntime


def _without_cuda(engine: str, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"{engine}_cuda_missing",
        f"{engine} cannot run on a GPU: {why}.",
        remedy="Install onnxruntime-gpu in place of onnxruntime, with the CUDA and cuDNN that it names; "
        "or write @cpu.",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
