"""Kokoro, from text to sound: kokoro-onnx's phonemes, ONNX Runtime, and a network of tones."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.core.errors import EngineLost, EngineUnavailable
from duologue.engines.kokoro.engine import RATE_HZ, Kokoro, _edges, _groups, _stretches
from duologue.engines.voices.part_sound import LEVEL_DBFS
from duologue.ports import Final, TtsOptions
from tests.engines.contract import LONG, TtsContract
from tests.engines.kokoro import tiny_kokoro
from tests.engines.voices.giving_up import given_up_ms
from tests.engines.voices.narrated import HOSTILE, level_dbfs, say

pytest.importorskip("kokoro_onnx")
pytestmark = pytest.mark.full

TEXT = "The king of the house left, and then he slept."


def opened(folder: Path, **options: str) -> Kokoro:
    given = "&".join(f"{key}={value}" for key, value in options.items())
    engine = Kokoro(f"{folder}@cpu:1" + (f"?{given}" if given else ""))
    engine.load()
    engine.warm_up()
    return engine


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kokoro]:
    engine = opened(tiny_kokoro.make(tmp_path_factory.mktemp("kokoro")))
    yield engine
    engine.close()


class TestKokoro(TtsContract):
    @pytest.fixture
    def engine(self, kokoro: Kokoro) -> Kokoro:
        return kokoro


def test_it_sounds_at_the_level_of_all_voices(kokoro: Kokoro) -> None:
    spoken = say(kokoro, TEXT)
    assert spoken.events[-1] == Final(7, 1)
    assert spoken.rate_hz == RATE_HZ
    assert level_dbfs(spoken.sound(), RATE_HZ) == pytest.approx(LEVEL_DBFS, abs=1)


def test_a_voice_is_chosen_by_name_or_by_language(kokoro: Kokoro) -> None:
    def seconds(voice: str = "", language: str = "") -> float:
        return say(kokoro, "Bonjour, papa.", options=TtsOptions(voice, language)).seconds()

    assert seconds("bf_emma") > 1.2 * seconds("af_heart")
    assert seconds() == seconds("af_heart") == seconds("nobody", "xx") == seconds("jf_alpha")
    assert seconds("", "en-GB") == seconds("bf_emma")
    assert seconds("", "fr") == seconds("ff_siwis", "fr-FR") != seconds("ff_siwis", "en")


def test_the_default_voice_can_be_set(tmp_path: Path) -> None:
    folder = tiny_kokoro.make(tmp_path)
    engine = opened(folder, voice="BF_emma")
    emma = say(engine, TEXT, options=TtsOptions("bf_emma", "en-gb"))
    assert say(engine, TEXT).seconds() == emma.seconds()
    with pytest.raises(EngineUnavailable, match="no voice 'alloy'") as refused:
        opened(folder, voice="alloy")
    assert "af_heart, am_michael" in refused.value.remedy


@pytest.mark.parametrize("tells", [True, False])
def test_words_are_where_their_symbols_sound(tmp_path: Path, tells: bool) -> None:
    """Each symbol is 50 ms long, and the phonemes of this text are known: hələʊ, wˈaɪd wˈɜːld."""
    engine = opened(tiny_kokoro.make(tmp_path, tells_durations=tells))
    text = "**Hello**, wide world."
    spoken = say(engine, text)
    phonemes = engine._tokenizer.phonemize("Hello, wide world.", "en-us")
    starts = [0, *(at + 1 for at, char in enumerate(phonemes) if char == " ")]
    words = spoken.words()
    assert [text[at : at + 4] for _, at in words] == ["Hell", "wide", "worl"]
    assert [ms for ms, _ in words] == pytest.approx(
        [20 + 50 * start for start in starts], abs=5 if tells else 200
    )


def test_durations_become_places_in_the_sound() -> None:
    durations = np.array([2, 1, 3, 1])  # padding, two symbols, padding
    assert _edges(durations, 70) == [20, 30, 60]
    assert _groups("hələʊ, — wɜːld.") == [0, 9]
    assert [len(part) for part in _stretches("ab " * 400)] == [510, 510, 180]


def test_words_that_espeak_joins_lie_between_their_neighbours(tmp_path: Path) -> None:
    engine = opened(tiny_kokoro.make(tmp_path, tells_durations=True))
    words = say(engine, TEXT).words()
    assert [TEXT[at:].split()[0] for _, at in words] == TEXT.split()
    assert [ms for ms, _ in words] == sorted({ms for ms, _ in words})


def test_figures_are_read_out(kokoro: Kokoro) -> None:
    figures = say(kokoro, "It is $3.50.").seconds()
    assert figures == say(kokoro, "It is three dollars and fifty cents.").seconds()


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_borne(kokoro: Kokoro, text: str) -> None:
    assert say(kokoro, text[:200]).events[-1] == Final(7, 1)


def test_speed_is_bounded(kokoro: Kokoro) -> None:
    natural = say(kokoro, TEXT).seconds()
    for asked, got in ((0.1, 0.5), (0.5, 0.5), (2.0, 2.0), (4.0, 2.0)):
        spoken = say(kokoro, TEXT, options=TtsOptions(speed=asked))
        assert spoken.seconds() * got == pytest.approx(natural, rel=0.05), asked


def test_a_part_is_given_up_while_the_network_runs(tmp_path: Path) -> None:
    """What runs for a cancelled stream would take seconds; the next stream need not wait for that."""
    folder = tiny_kokoro.make(tmp_path, slow=400)
    engine = Kokoro(f"{folder}@cpu:1")
    engine.load()
    left_ms, freed_ms = given_up_ms(engine, engine._inference)
    assert left_ms < 50
    assert freed_ms < 200


def test_a_long_piece_is_made_breath_by_breath(
    kokoro: Kokoro, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    run = kokoro._inference.run

    def told(feed: Mapping[str, Any], cancelled: Callable[[], bool]) -> list[Any]:
        lengths.append(feed["tokens"].shape[1])
        return run(feed, cancelled)

    monkeypatch.setattr(kokoro._inference, "run", told)
    say(kokoro, LONG)
    assert lengths[0] <= 80
    assert lengths[0] < max(lengths) <= 512
    assert len(lengths) > 10


def test_a_network_that_fails_says_so(kokoro: Kokoro) -> None:
    with pytest.raises(EngineLost, match="kokoro failed"):
        kokoro._inference.run({"tokens": np.zeros((1, 3), np.int64)}, lambda: False)


def test_the_layout_of_the_onnx_community_is_read(tmp_path: Path) -> None:
    folder = tiny_kokoro.make(tmp_path / "made")
    there = tmp_path / "there"
    (there / "onnx").mkdir(parents=True)
    (there / "voices").mkdir()
    (folder / "kokoro-v1.0.onnx").rename(there / "onnx" / "model.onnx")
    tiny_kokoro.style(1.5).astype("<f4").tofile(there / "voices" / "bf_emma.bin")
    assert opened(there).capabilities.voices == ("bf_emma",)


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", "kokoro_model_unnamed"),
        ("/nowhere/kokoro", "kokoro_model_missing"),
        ("{folder}@cuda:0", "kokoro_cuda_missing"),
        ("{folder}@mps", "kokoro_device_unsupported"),
        ("{folder}@cpu/fp16", "kokoro_file_missing"),
        ("{broken}", "kokoro_not_loadable"),
        ("{mute}", "kokoro_file_missing"),
        ("{odd}", "kokoro_voices_unreadable"),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(tmp_path: Path, argument: str, code: str) -> None:
    folders = {
        name: tiny_kokoro.make(tmp_path / name) for name in ("folder", "broken", "mute", "odd")
    }
    (folders["broken"] / "kokoro-v1.0.onnx").write_bytes(b"no network")
    (folders["mute"] / "voices-v1.0.bin").unlink()
    (folders["odd"] / "voices-v1.0.bin").write_bytes(b"no archive")
    with pytest.raises(EngineUnavailable) as refused:
        Kokoro(argument.format(**folders)).load()
    assert refused.value.code == code
    assert refused.value.remedy
