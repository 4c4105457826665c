"""The audio routes with Whisper, whose weights here are random: what it says means nothing, but is its own."""

from itertools import pairwise
from pathlib import Path

import pytest

from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.whisper.engine import Whisper
from tests.server.audio.stage import encoded, service, talk

pytest.importorskip("faster_whisper")
from tests.engines.whisper import tiny_whisper

pytestmark = pytest.mark.full


async def test_long_speech_has_words_in_their_order_and_can_be_translated(tmp_path: Path) -> None:
    pool = InProcessPool(Whisper(f"{tiny_whisper.make(tmp_path / 'mini')}@cpu:1"))
    await pool.start()
    file = ("talk.ogg", encoded(talk(45, 48_000), 48_000, "ogg", "libopus"))
    async with service(pool) as served:
        heard = await served.client.audio.transcriptions.create(
            model="whisper-1",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
        assert heard.words
        assert heard.segments
        assert all(a.start <= a.end <= b.end for a, b in pairwise(heard.words))
        assert heard.words[-1].start > 20  # those of the later stretches have their own times
        assert all(s.avg_logprob < 0 and s.end - s.start < 15 for s in heard.segments)
        with pytest.warns(DeprecationWarning, match="deprecated"):
            english = await served.client.audio.translations.create(model="whisper-1", file=file)
        assert english.text != heard.text
        await served.all_streams_closed()
    await pool.aclose()
