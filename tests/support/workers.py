"""The engines' processes of this test process."""

import psutil


def workers() -> list[psutil.Process]:
    """Those that are our children: servers that tests started beside them do not count."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "duologue.engines.worker" in process.cmdline()
    except psutil.Error:
        return False
