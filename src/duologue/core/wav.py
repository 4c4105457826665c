"""Samples as a file that everything plays.

The layout is Microsoft's and IBM's "Multimedia Programming Interface and Data Specifications" (1991): "RIFF", a
size, "WAVE", and chunks of a name, a size and so many bytes.
"""

import struct

from duologue.core.audio import SAMPLE_BYTES

_PCM = 1


def wav(pcm: bytes, rate_hz: int) -> bytes:
    """Mono 16-bit samples as a file."""
    size = len(pcm)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    form = struct.pack("<HHIIHH", _PCM, 1, rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, 16)
    return head + form + struct.pack("<4sI", b"data", size) + pcm
