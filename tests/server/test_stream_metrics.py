"""What is scraped of streaming sessions and the store."""

from duologue.core.streaming import AudioChunk, StreamOptions, TextRequest, Transcribed
from duologue.server.stream_metrics import of_store, of_streams
from tests.support.stream_stage import Ear, loud, stream_stage


async def test_sessions_workers_cache_and_store_are_counted() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(500), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)
        for _ in range(2):
            seat.ask(TextRequest("Again."))
            await stage.judged()
        families = [
            *of_streams(stage.desk.overview()),
            *of_store(stage.archive.stats),  # type: ignore[attr-defined]
        ]
        values = {s.name: s.value for family in families for s in family.samples if not s.labels}
        by_kind = {
            (s.name, s.labels["kind"]): s.value
            for family in families
            for s in family.samples
            if s.labels
        }
        assert values["duologue_stream_sessions_open"] == 1
        assert values["duologue_spoken_cache_hits_total"] == 1
        assert values["duologue_spoken_cache_bytes"] > 0
        assert values["duologue_store_written_total"] >= 4
        assert values["duologue_store_failed_total"] == 0
        assert by_kind["duologue_workers_number", "tts"] == 2
        assert by_kind["duologue_workers_busy", "transcription"] == 0
