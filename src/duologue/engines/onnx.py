"""Opens a model file of ours in ONNX Runtime, or says what is missing and what to do."""

from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable


def open_model(
    path: Path, *, without: str, code: str, remedy: str, keeps_memory: bool = True
) -> Any:
    """An inference session on one thread: a thread pool's wake-ups cost more than a small model does.

    Args:
        without: what cannot be done without it, as the beginning of a sentence.
        code, remedy: of the error where there is no file.
        keeps_memory: between runs, for models whose work takes much of it.

    Raises:
        EngineUnavailable: ONNX Runtime or the file is not there. What ONNX Runtime itself raises passes.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            "onnxruntime_missing",
            f"{without}: ONNX Runtime is not installed.",
            remedy="Install duologue[server].",
        ) from error
    if not path.is_file():
        raise EngineUnavailable(code, f"{without}: there is no model at {path}.", remedy=remedy)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keeps_memory
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
