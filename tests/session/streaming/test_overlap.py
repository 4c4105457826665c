"""A session that is brought back after any of its commits: every word once, though times are not exact."""

from pathlib import Path
from typing import Any

import pytest

from duologue.core.records import Change, ItemRecord
from duologue.core.streaming import AudioChunk, Joined, StreamOptions, Transcribed
from duologue.core.words import Word
from duologue.session.streaming.overlap import HeardAgain, place_between
from duologue.session.streaming.session import StreamSession
from duologue.store.opening import open_archive
from tests.session.streaming.test_windowed import engine_for, sound_of, talk
from tests.support.stream_stage import Ear, StreamStage, stream_stage

LENGTH_MS = 40_000
CHUNK_BYTES = 170 * 32


class Noted:
    """An archive whose commits are remembered."""

    def __init__(self, archive: Any) -> None:
        self.commits: list[tuple[Change, ...]] = []
        self._archive = archive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def write(self, *changes: Change) -> Any:
        self.commits.append(changes)
        return self._archive.write(*changes)


async def listen(
    stage: StreamStage, session: StreamSession, sound: bytes, words: int, at_a_time: int
) -> list[str]:
    """All sound that the session does not have; the words of all that it tells."""
    ear = Ear()
    seat = await session.join(ear, after=0)
    chunks = [sound[at : at + CHUNK_BYTES] for at in range(0, len(sound), CHUNK_BYTES)]
    for index in range(ear.of(Joined)[0].next_chunk, len(chunks)):
        seat.ask(AudioChunk(chunks[index], index, index + 1 == len(chunks), "pcm16"))
        if index % at_a_time == 0:
            await stage.judged()
    await ear.until(lambda: sum(len(part.words) for part in ear.of(Transcribed)) >= words)
    await stage.judged()
    return [word.text for part in ear.of(Transcribed) for word in part.words]


@pytest.mark.parametrize(
    ("seed", "vad", "at_a_time"), [(1, False, 12), (4, False, 12), (8, True, 12), (3, True, 1_000)]
)
async def test_a_session_that_is_brought_back_anywhere_goes_on_with_the_next_word(
    seed: int, vad: bool, at_a_time: int, tmp_path: Path
) -> None:
    """Where all sound comes at once, utterances share windows."""
    words = talk(seed, LENGTH_MS)
    said, sound = [word.text for word in words], sound_of(words, LENGTH_MS)
    store = open_archive("memory", tmp_path)
    await store.start()
    noted: Any = Noted(store)
    async with stream_stage(stt=engine_for(words, tmp_path), archive=noted) as stage:
        session, _ = await stage.desk.create("", StreamOptions(vad=vad))
        assert await listen(stage, session, sound, len(said), at_a_time) == said
    await store.aclose()
    for number, commit in enumerate(noted.commits, 1):
        if not any(isinstance(change, ItemRecord) for change in commit):
            continue
        archive = open_archive("memory", tmp_path)
        await archive.start()
        for changes in noted.commits[:number]:
            await archive.write(*changes)
        async with stream_stage(stt=engine_for(words, tmp_path), archive=archive) as stage:
            back = await stage.desk.find(session.id, "")
            assert await listen(stage, back, sound, len(said), at_a_time) == said, (
                f"after commit {number}"
            )
        await archive.aclose()


def test_sound_is_wanted_from_before_the_last_word_unless_there_is_a_pause() -> None:
    last = Word("no", 5_000, 5_400)
    assert place_between(last, 5_450) == 4_700 * 16
    assert place_between(last, 6_000) == 5_700 * 16
    assert place_between(None, 450) == 150 * 16
    assert place_between(None, 100) == 0


def test_what_is_heard_up_to_the_last_word_was_told() -> None:
    last = Word("no", 5_000, 5_400)
    again = HeardAgain(last)
    assert (
        again.push((Word("xq", 4_700, 4_980), Word("no", 5_050, 5_350)), 75_000, ended=False)
        is None
    )
    new = again.push((Word("no", 5_390, 5_800), Word("yes", 5_900, 6_200)), 80_000, ended=False)
    assert new == (Word("no", 5_400, 5_800), Word("yes", 5_900, 6_200))


def test_words_that_end_with_their_utterance_are_not_waited_for() -> None:
    assert HeardAgain(Word("no", 5_000, 5_400)).push((), 80_000, ended=True) == ()
