import errno

import pytest

from duologue.core.oom import is_out_of_memory, says_out_of_memory


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OutOfMemoryError("CUDA: tried to allocate 20.00 MiB"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("[ONNXRuntimeError] BFCArena::AllocateRawInternal"),
        ValueError("No available memory for the cache blocks."),
    ],
)
def test_every_library_is_understood_also_through_a_wrapping(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped, outermost = KeyError("wrapped"), ValueError("outermost")
    wrapped.__cause__, outermost.__context__ = error, wrapped
    assert is_out_of_memory(outermost)


def test_other_errors_are_not_taken_for_it_and_a_ring_of_causes_ends() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA driver version is insufficient"))
    assert not is_out_of_memory(OSError(errno.ENOENT, "No such file"))
    assert not says_out_of_memory("loaded into memory")
    one, two = RuntimeError("a"), RuntimeError("b")
    one.__cause__, two.__cause__ = two, one
    assert not is_out_of_memory(one)
