"""Words whose times nobody told, and sound as a file."""

import io
import wave

from duologue.core.wav import wav
from duologue.core.words import Word, spread


def test_words_share_the_time_by_their_length() -> None:
    assert spread("no seven", 1_000, 1_700) == (
        Word("no", 1_000, 1_200),
        Word("seven", 1_200, 1_700),
    )
    assert spread("  ", 0, 100) == ()


def test_samples_come_back_out_of_the_file() -> None:
    with wave.open(io.BytesIO(wav(b"\x01\x00\x02\x00", 24_000))) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, 2)
        assert file.readframes(2) == b"\x01\x00\x02\x00"
