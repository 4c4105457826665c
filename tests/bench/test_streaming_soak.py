"""Three minutes of what `make soak` does for an hour: nothing lost, nothing wrong, and no heap of memory."""

import json
from pathlib import Path

import pytest
from bench.streaming.conversation import generated, recorded
from bench.streaming.hour import apart, errors, table
from bench.streaming.weigh import MB, Scale, in_use

from duologue.core.audio import ms_to_samples

CLIPS = Path(__file__).parent.parent / "data"
CLEAR = ("commands", "lj", "librivox_ps", "libri_other", "libri_misc")


@pytest.mark.timeout(120)
def test_three_minutes_of_talk_are_stored_word_for_word() -> None:
    result = apart("reference", 3, CLIPS)
    assert result.wrong == 0, result.first_difference
    assert result.words > 300
    assert result.committed == result.chunks
    assert (result.missing_numbers, result.gaps, result.problems) == (0, 0, [])
    assert result.texts_said == result.voices_cached > 3
    assert result.prompts > 15
    assert result.spoken >= result.prompts + result.texts_said - 2
    assert result.peak < 20 * MB
    assert 3 * 60 / result.cpu_s >= 20, table([result])


@pytest.mark.timeout(180)
def test_three_minutes_of_recordings_pass_through_the_embedded_engines() -> None:
    result = apart("embedded", 3, CLIPS)
    assert result.committed == result.chunks
    assert (result.missing_numbers, result.gaps, result.problems) == (0, 0, [])
    assert 0 < result.wrong <= 1.2 * result.alone_wrong, table([result])
    assert result.peak < 20 * MB
    assert result.minutes * 60 / result.cpu_s >= 3, table([result])


# --- the measure itself ---
def test_a_generated_conversation_has_sound_where_its_words_are(tmp_path: Path) -> None:
    talk = generated(1, seed=5)
    assert talk.words == generated(1, seed=5).words != generated(1, seed=6).words
    assert all(a.end_ms <= b.start_ms for a, b in zip(talk.words, talk.words[1:], strict=False))
    pieces = list(talk.chunks(2_000))
    assert max(map(len, pieces)) == 64_000
    whole = b"".join(pieces)
    assert len(whole) == ms_to_samples(talk.end_ms) * 2
    start = ms_to_samples(talk.words[9].start_ms)
    assert talk.sound(start, start + 900) == whole[2 * start : 2 * start + 1_800]
    assert max(whole[: talk.words[0].start_ms * 32 : 2]) > 0  # a room is never still
    talk.write(tmp_path / "words.json")
    written = json.loads((tmp_path / "words.json").read_text())
    assert [each["text"] for each in written] == [word.text for word in talk.words]


def test_recordings_follow_one_another_with_their_transcripts() -> None:
    talk = recorded(CLIPS, 0.5, CLEAR)
    assert talk.utterances[0].text == "go somewhere and do something"
    first = talk.utterances[0]
    assert first.pcm is not None
    assert first.end_ms - first.start_ms == len(first.pcm) // 32
    assert recorded(CLIPS, 0.5, CLEAR, skip=1).utterances[0].text == talk.utterances[1].text


def test_errors_are_words_put_in_left_out_or_changed() -> None:
    said = [f"w{n}" for n in range(400)]
    heard = [*said[:50], "x", *said[51:200], *said[203:300], "y", "z", *said[300:]]
    assert errors(said, said) == 0
    assert errors(said, heard) == 1 + 3 + 2


def test_what_is_kept_is_weighed_to_the_kilobyte() -> None:
    scale = Scale.balanced()
    kept = [bytearray(300_000) for _ in range(10)]
    scale.look()
    assert scale.peak >= 3 * MB
    assert in_use() - scale.idle >= 3 * MB
    del kept
    for hour in range(10):
        scale.kept.append((hour * 3_600.0, 5_000_000 + hour * 75_000, hour * 5_000))
    assert scale.slope_kb_per_hour(7_200) == pytest.approx(70)
