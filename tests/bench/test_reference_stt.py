"""The recogniser that knows what is said."""

import json
from pathlib import Path

import pytest
from bench.reference_stt import SPEC, Manner, Reference, ReferenceStt, sound_of, sounding

from duologue.core.audio import AudioFrame, ms_to_samples
from duologue.core.capabilities import Role
from duologue.ports import Final, SttOptions, Word

WORDS = [Word("nothing", 100, 500), Word("else", 550, 800), Word("matters", 900, 1_400)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "words.json"
    rows = [{"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms} for w in WORDS]
    file.write_text(json.dumps(rows))
    return file


def texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


def test_whole_words_are_right_and_their_times_nearly() -> None:
    found = Reference(WORDS, Manner(seed=3)).hear([(0, 1_500)])
    assert texts(found) == ["nothing", "else", "matters"]
    assert list(found) != WORDS
    for heard, true in zip(found, WORDS, strict=True):
        assert abs(heard.start_ms - true.start_ms) <= 80
        assert abs(heard.end_ms - true.end_ms) <= 80


def test_a_cut_word_is_left_out_halved_or_garbled() -> None:
    made = set()
    for seed in range(60):
        found = Reference(WORDS, Manner(seed=seed)).hear([(0, 1_200)])
        assert texts(found)[:2] == ["nothing", "else"]
        made.add("garbled" if (text := " ".join(texts(found)[2:])) not in ("", "matt") else text)
        assert all(word.end_ms <= 1_200 for word in found)
    assert made == {"", "matt", "garbled"}
    ends = {" ".join(texts(Reference(WORDS, Manner(seed=n)).hear([(300, 520)]))) for n in range(60)}
    assert {"", "ing"} < ends
    assert texts(Reference(WORDS, Manner()).hear([(480, 520)])) == []  # too little of it


def test_what_goes_wrong_follows_from_seed_and_window() -> None:
    window = [(0, 1_250)]
    answers = [Reference(WORDS, Manner(seed=seed)).hear(window) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    assert Reference(WORDS, Manner(silent=1)).hear(window) == ()


def test_zeros_were_not_offered() -> None:
    sound = sound_of(WORDS, 1_500)
    gap = sound[: 2 * ms_to_samples(500)] + bytes(2 * ms_to_samples(300))
    frame = AudioFrame(gap + sound[len(gap) :], 16_000)
    assert sounding(frame) == [(16_000, 24_000), (28_800, 40_000)]
    assert sounding(AudioFrame(bytes(100), 0)) == []


async def answer(engine: ReferenceStt, frames: list[AudioFrame], options: SttOptions) -> Final:
    stream = engine.open("k", options)
    for frame in frames:
        assert stream.offer(frame)
    stream.flush(4)
    final = await anext(stream.events())
    assert isinstance(final, Final)
    await stream.aclose()
    return final


async def test_it_is_an_engine(file: Path) -> None:
    engine = SPEC.make(f"{file}?ms=1,seed=5,jitter_ms=10")
    engine.load()
    engine.warm_up()
    assert SPEC.role is Role.STT
    assert engine.manner == Manner(ms=1, seed=5, jitter_ms=10)
    sound = sound_of(WORDS, 1_500)
    half = 2 * ms_to_samples(700)
    frames = [AudioFrame(sound[:half], 0), AudioFrame(sound[half:], ms_to_samples(700))]
    final = await answer(engine, frames, SttOptions(word_times=True))
    assert (final.id, final.upto, final.text) == (4, 24_000, "nothing else matters")
    assert texts(final.words) == ["nothing", "else", "matters"]
    assert abs(final.words[1].start_ms - 550) <= 10
    without = await answer(engine, frames, SttOptions())
    assert (without.text, without.words) == ("nothing else matters", ())


async def test_a_gap_cuts_words(file: Path) -> None:
    engine = ReferenceStt(str(file))
    engine.load()
    sound = sound_of(WORDS, 1_500)
    frames = [
        AudioFrame(sound[: 2 * ms_to_samples(850)], 0),
        AudioFrame(sound[2 * ms_to_samples(1_390) :], ms_to_samples(1_390)),
    ]
    final = await answer(engine, frames, SttOptions(word_times=True))
    assert final.text == "nothing else"
