"""Chinese, end to end: a session in zh on a real Whisper whose weights mean nothing, but whose signs are Chinese."""

from pathlib import Path

import pytest

from duologue.core.streaming import AudioChunk, Configure, StreamOptions, Transcribed
from tests.support.stream_stage import Ear, loud, stream_stage

pytestmark = pytest.mark.full


async def test_chinese_reaches_the_transcript_and_can_be_left_for_another_language(
    tmp_path: Path,
) -> None:
    pytest.importorskip("faster_whisper")
    from duologue.engines.loading import bring_up
    from duologue.engines.whisper.engine import SPEC
    from tests.engines.whisper import tiny_whisper

    engine = SPEC.make(f"{tiny_whisper.make(tmp_path / 'zh', chinese=True)}@cpu:1")
    bring_up(engine)
    try:
        async with stream_stage(stt=engine) as stage:
            session, _ = await stage.desk.create("", StreamOptions(language="zh"))
            ear = Ear()
            seat = await session.join(ear)
            seat.ask(AudioChunk(loud(1_800), 0, is_final=True, format="pcm16"))
            await ear.until(lambda: bool(ear.of(Transcribed)), timeout_s=60)
            text = "".join(part.text for part in ear.of(Transcribed))
            assert sum("一" <= sign <= "鿿" for sign in text) > len(text) // 2
            assert ear.of(Transcribed)[0].language == "zh"
            (stored, *_) = await stage.archive.items(session.id)
            assert stored.text == ear.of(Transcribed)[0].text
            count = len(ear.of(Transcribed))
            seat.ask(Configure(language=""))
            seat.ask(AudioChunk(loud(1_800, 1), 1, is_final=True, format="pcm16"))
            await ear.until(lambda: len(ear.of(Transcribed)) > count, timeout_s=60)
            assert ear.of(Transcribed)[-1].language == "zh"  # as Whisper heard it
    finally:
        engine.close()
