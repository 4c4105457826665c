"""Whether an error says that memory ran out: each library says it in its own words.

Where each was seen: torch's `OutOfMemoryError` and "not enough memory" (its allocator for the CPU); CTranslate2's
RuntimeError "CUDA failed with error out of memory" and cuBLAS's CUBLAS_STATUS_ALLOC_FAILED; ONNX Runtime's
BFCArena and "Failed to allocate memory"; vLLM's three ways to end its start; llama.cpp's "failed to allocate …
buffer"; C++'s std::bad_alloc and Linux's ENOMEM.
"""

import errno

_WORDS = (
    "out of memory",
    "outofmemory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "failed to allocate memory",
    "bfcarena",
    "defaultcpuallocator: not enough memory",
    "defaultcpuallocator: can't allocate memory",
    "bad_alloc",
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate cuda",
    "failed to allocate buffer",
    "free memory on device",
    "no available memory for the cache blocks",
    "larger than the available kv cache memory",
)
"""In lower case."""

KILLED = (137, -9)
"""Exit codes of a process that was killed outright: on Linux mostly by the kernel, for its memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """The error, or one that it came from, means that memory ran out."""
    seen: BaseException | None = error
    for _ in range(8):  # a chain may be a ring
        if seen is None:
            return False
        if isinstance(seen, MemoryError) or (
            isinstance(seen, OSError) and seen.errno == errno.ENOMEM
        ):
            return True
        if says_out_of_memory(f"{type(seen).__name__}: {seen}"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def says_out_of_memory(text: str) -> bool:
    """A library's or a process's words mean that memory ran out."""
    low = text.lower()
    return any(words in low for words in _WORDS)
