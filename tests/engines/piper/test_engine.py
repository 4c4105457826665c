"""Piper, from text to sound: piper-tts with its own espeak-ng, ONNX Runtime, and a network of tones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineUnavailable
from duologue.engines.piper.engine import Piper
from duologue.engines.voices.part_sound import LEVEL_DBFS
from duologue.ports import Final, TtsOptions
from tests.engines.contract import TtsContract
from tests.engines.voices import tone_onnx
from tests.engines.voices.giving_up import given_up_ms
from tests.engines.voices.narrated import HOSTILE, level_dbfs, say

pytest.importorskip("piper")
pytestmark = pytest.mark.full

RATE_HZ = 22_050
TEXT = "The king of the house left, and then he slept."


def make(
    folder: Path, name: str = "en_US-tone-low", speakers: tuple[str, ...] = (), **more: Any
) -> Path:
    """A voice as Piper's own are described, of tones."""
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    folder.mkdir(parents=True, exist_ok=True)
    slow = more.pop("slow", 0)
    network = tone_onnx.piper(folder / f"{name}.onnx", speakers=max(1, len(speakers)), slow=slow)
    config = {
        "audio": {"sample_rate": RATE_HZ, "quality": "low"},
        "espeak": {"voice": "en-us"},
        "language": {"code": "en_US"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "num_symbols": 256,
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": {speaker: number for number, speaker in enumerate(speakers)},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "hop_length": tone_onnx.HOP,
        **more,
    }
    network.with_name(f"{name}.onnx.json").write_text(json.dumps(config))
    return network


def opened(model: Path, options: str = "") -> Piper:
    engine = Piper(f"{model}@cpu:1{options}")
    engine.load()
    engine.warm_up()
    return engine


@pytest.fixture(scope="module")
def piper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Piper]:
    engine = opened(make(tmp_path_factory.mktemp("piper")))
    yield engine
    engine.close()


class TestPiper(TtsContract):
    @pytest.fixture
    def engine(self, piper: Piper) -> Piper:
        return piper


def test_it_sounds_at_the_level_of_all_voices_and_at_the_rate_of_its_own(tmp_path: Path) -> None:
    engine = opened(make(tmp_path, audio={"sample_rate": 16_000}))
    spoken = say(engine, TEXT)
    assert spoken.events[-1] == Final(7, 1)
    assert spoken.rate_hz == 16_000
    assert level_dbfs(spoken.sound(), 16_000) == pytest.approx(LEVEL_DBFS, abs=1)


def test_what_it_speaks_is_declared(piper: Piper, tmp_path: Path) -> None:
    assert piper.capabilities.languages == ("en",)
    assert piper.capabilities.voices == ("en_US-tone-low",)
    german = opened(make(tmp_path, language={}, espeak={"voice": "de"}))
    assert german.capabilities.languages == ("de",)


def test_a_speaker_is_chosen_by_name_or_number(tmp_path: Path) -> None:
    engine = opened(make(tmp_path, speakers=("ann", "ben", "cid")))
    assert engine.capabilities.voices == ("ann", "ben", "cid")

    def seconds(voice: str) -> float:
        return say(engine, TEXT, options=TtsOptions(voice)).seconds()

    assert seconds("") == seconds("ann") == seconds("0") == seconds("nobody") == seconds("3")
    assert seconds("ben") == seconds("1") == pytest.approx(2 * seconds("ann"), rel=0.05)
    assert seconds("cid") == pytest.approx(3 * seconds("ann"), rel=0.05)


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed_is_speed(piper: Piper, speed: float) -> None:
    spoken = say(piper, TEXT, options=TtsOptions(speed=speed))
    assert spoken.seconds() * speed == pytest.approx(say(piper, TEXT).seconds(), rel=0.25)


def test_words_are_where_their_symbols_sound(piper: Piper) -> None:
    pytest.importorskip("onnx")
    text = "**Hello**, wide world."
    phonemes = "".join(piper._voice.phonemize("Hello, wide world.")[0])
    starts = [phonemes.index(word) for word in ("h", "wˈaɪd", "wˈɜː")]
    symbol_ms = 2 * tone_onnx.PIPER_FRAMES * tone_onnx.HOP * 1000 / RATE_HZ  # each with its padding
    words = say(piper, text).words()
    assert [text[at : at + 4] for _, at in words] == ["Hell", "wide", "worl"]
    first = words[0][0]
    assert [ms - first for ms, _ in words] == pytest.approx(
        [symbol_ms * start for start in starts], abs=20
    )


def test_words_are_estimated_where_the_network_does_not_tell(
    piper: Piper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.engines.piper.engine._with_durations", lambda _: None)
    engine = opened(make(tmp_path))
    told, guessed = say(piper, TEXT).words(), say(engine, TEXT).words()
    assert [at for _, at in told] == [at for _, at in guessed]
    assert [ms for ms, _ in guessed] == pytest.approx([ms for ms, _ in told], abs=800)


def test_double_brackets_are_no_phonemes(piper: Piper) -> None:
    assert say(piper, "a [[ b ]] c").seconds() == say(piper, "a (( b )) c").seconds()


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_borne(piper: Piper, text: str) -> None:
    assert say(piper, text[:200]).events[-1] == Final(7, 1)


def test_a_sentence_is_given_up_while_the_network_runs(tmp_path: Path) -> None:
    engine = Piper(f"{make(tmp_path, slow=400)}@cpu:1")
    engine.load()
    left_ms, freed_ms = given_up_ms(engine, engine._inference)
    assert left_ms < 50
    assert freed_ms < 200


def test_one_of_several_voices_of_a_folder_is_named(tmp_path: Path) -> None:
    make(tmp_path, "en_US-one-low")
    make(tmp_path, "en_US-two-low")
    engine = opened(tmp_path, "?voice=en_US-two-low")
    assert engine.capabilities.voices == ("en_US-two-low",)
    for options in ("", "?voice=three"):
        with pytest.raises(EngineUnavailable) as refused:
            opened(tmp_path, options)
        assert refused.value.code == "piper_voice_unknown"
        assert "en_US-one-low, en_US-two-low" in refused.value.remedy


def test_what_is_missing_is_said_with_a_remedy(tmp_path: Path) -> None:
    alone = make(tmp_path / "alone")
    alone.with_name(f"{alone.name}.json").unlink()
    chinese = make(tmp_path / "chinese", phoneme_type="pinyin")
    broken = make(tmp_path / "broken")
    broken.write_bytes(b"no network")
    odd = make(tmp_path / "odd")
    odd.with_name(f"{odd.name}.json").write_text("[]")
    (tmp_path / "empty").mkdir()
    for argument, code in (
        ("", "piper_model_unnamed"),
        (str(tmp_path / "nowhere"), "piper_model_missing"),
        (str(tmp_path / "empty"), "piper_file_missing"),
        (str(alone), "piper_file_missing"),
        (str(chinese), "piper_phonemes_unsupported"),
        (str(broken), "piper_not_loadable"),
        (str(odd), "piper_config_invalid"),
    ):
        with pytest.raises(EngineUnavailable) as refused:
            Piper(argument).load()
        assert refused.value.code == code
        assert refused.value.remedy
