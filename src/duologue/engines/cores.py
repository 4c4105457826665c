"""The processor cores that an engine may compute on."""

import os


def spare_cores(most: int | None = None) -> int:
    """All cores that this process may use but one, which is the event loop's; at least 1.

    Args:
        most: beyond which an engine gains little; None for no such bound.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    spare = max(1, (cores or 2) - 1)
    return spare if most is None else min(most, spare)
