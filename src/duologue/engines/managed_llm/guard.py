"""Stands between us and a language model's server, so that the server never outlives us. Run as a program of its own.

    python guard.py GRACE_S COMMAND…

It starts the command as the leader of a process group, tells its number in a first line, and ends with its exit code.
When our end of its input closes, however we came to our end, the group is asked to end, and killed after GRACE_S
seconds. When the guard itself is killed, Linux kills the command. What the command leaves behind in its group ends
with it: vLLM and Ollama have children that hold the memory. It imports nothing of ours: it starts in 20 ms.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

NOT_STARTED = 127
"""As a shell's, when a command cannot be run."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: list[str]) -> int:
    """Start the command, and wait for its end."""
    grace_s, command = float(argv[1]), argv[2:]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_before_it_runs,
        )
    except OSError as error:
        sys.stdout.write(f"{command[0]}: {error.strerror}\n")
        return NOT_STARTED
    is_over = threading.Event()
    threading.Thread(
        target=_end_when_let_go, args=(child.pid, grace_s, is_over), daemon=True
    ).start()
    code = child.wait()
    is_over.set()
    _tell(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _end_when_let_go(group: int, grace_s: float, is_over: threading.Event) -> None:
    while os.read(0, 1):
        pass
    _tell(group, signal.SIGTERM)
    if not is_over.wait(grace_s):
        _tell(group, signal.SIGKILL)


def _tell(group: int, what: signal.Signals) -> None:
    # the second is macOS's word for a group of nothing but zombies
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, what)


def _before_it_runs() -> None:
    """In the child: tell its number before it can say anything itself, and let it end with the guard."""
    os.write(1, b"%d\n" % os.getpid())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
