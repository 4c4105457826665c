"""Pocket TTS, from text to sound: pocket-tts on torch, with a model of its own architecture."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from duologue.core.errors import EngineLost, EngineUnavailable
from duologue.engines.pocket.engine import RATE_HZ, Pocket, _Wanted
from duologue.engines.threads import StreamThread
from duologue.ports import Event, Final, Say, TtsOptions
from tests.engines.contract import LONG, SENTENCE, TtsContract
from tests.engines.pocket import tiny_pocket
from tests.engines.voices.narrated import say

pytest.importorskip("pocket_tts")
pytestmark = pytest.mark.full


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging.getLogger("pocket_tts").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pocket.make(tmp_path_factory.mktemp("pocket") / "english")


@pytest.fixture(scope="module")
def pocket(model: Path) -> Iterator[Pocket]:
    engine = Pocket(str(model))
    engine.load()
    engine.warm_up()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pocket]:
    """A voice that goes on for as long as the text may last: some seconds for each part."""
    folder = tiny_pocket.make(tmp_path_factory.mktemp("endless") / "english", eos_threshold=1e9)
    engine = Pocket(str(folder))
    engine.load()
    yield engine
    engine.close()


class TestPocket(TtsContract):
    CAN_CHANGE_SPEED = False

    @pytest.fixture
    def engine(self, pocket: Pocket) -> Pocket:
        return pocket


def test_what_it_speaks_is_declared(pocket: Pocket) -> None:
    capabilities = pocket.capabilities
    assert (capabilities.languages, capabilities.voices) == (("en",), ("alba", "vera"))
    assert capabilities.rate_hz == RATE_HZ


def test_sound_comes_while_it_is_made(endless: Pocket) -> None:
    """The first of it before the last, by far: 24 s of sound are made in more than a second."""
    frames = endless._sound(SENTENCE, "alba", _Wanted())
    began = time.perf_counter()
    first = next(frames)
    first_s = time.perf_counter() - began
    samples = len(first) + sum(len(frame) for frame in frames)
    whole_s = time.perf_counter() - began
    assert samples > 10 * RATE_HZ
    assert first_s < whole_s / 3


def told(sounds: threading.Event) -> Callable[[Event], None]:
    return lambda _: sounds.set()


def test_a_part_is_given_up_between_two_frames(endless: Pocket) -> None:
    left_ms, freed_ms = [], []
    for _ in range(3):
        sounds, done = threading.Event(), threading.Event()
        stream = StreamThread(endless, TtsOptions(), told(sounds), lambda: None, done.set)
        stream.put(Say(0, LONG))
        assert sounds.wait(20)
        began = time.perf_counter()
        stream.close(cancel=True)
        assert done.wait(10)
        left_ms.append((time.perf_counter() - began) * 1000)
        endless._thread.submit(lambda: None).result(20)
        freed_ms.append((time.perf_counter() - began) * 1000)
    assert min(left_ms) < 50
    assert min(freed_ms) < 200


def test_a_voice_is_chosen_by_name(
    model: Path, pocket: Pocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the model is given: random weights make the same noise of every voice."""
    other = Pocket(f"{model}?voice=vera")
    other.load()
    for engine, voice, meant in (
        (pocket, "", "alba"),
        (pocket, "nobody", "alba"),
        (pocket, "vera", "vera"),
        (other, "", "vera"),
        (other, "alba", "alba"),
    ):
        with monkeypatch.context() as patch:
            asked = Mock(wraps=engine._model.generate_audio_stream)
            patch.setattr(engine._model, "generate_audio_stream", asked)
            say(engine, "Hello there.", options=TtsOptions(voice))
        assert asked.call_args.args[0] is engine._states[meant]


def test_words_are_told_at_the_pace_of_the_voice(endless: Pocket) -> None:
    text = "**Hello**, wide world."
    words = say(endless, text).words()
    assert [text[at : at + 4] for _, at in words] == ["Hell", "wide", "worl"]
    assert words == sorted(words)


def test_a_model_that_fails_says_so(pocket: Pocket) -> None:
    with pytest.raises(EngineLost, match="Pocket TTS failed"):
        list(pocket._sound("", "alba", _Wanted()))
    assert say(pocket, "Again.").events[-1] == Final(7, 1)


def test_one_of_several_languages_is_named(model: Path, tmp_path: Path) -> None:
    for name in ("german", "french"):
        shutil.copytree(model, tmp_path / "languages" / name)
    german = Pocket(f"{tmp_path}?language=german")
    german.load()
    assert german.capabilities.languages == ("de",)
    with pytest.raises(EngineUnavailable) as refused:
        Pocket(str(tmp_path)).load()
    assert refused.value.code == "pocket_language_unknown"
    assert "french, german" in refused.value.remedy


def test_what_is_missing_is_said_with_a_remedy(model: Path, tmp_path: Path) -> None:
    folders = {name: tmp_path / name / "english" for name in ("mute", "dumb", "broken", "unknown")}
    for folder in folders.values():
        shutil.copytree(model, folder)
    shutil.rmtree(folders["mute"] / "embeddings")
    (folders["dumb"] / "tokenizer.json").unlink()
    (folders["broken"] / "model.safetensors").write_bytes(b"no weights")
    (folders["unknown"] / "config.yaml").unlink()
    (tmp_path / "empty").mkdir()
    for argument, code in (
        ("", "pocket_model_unnamed"),
        (str(tmp_path / "nowhere"), "pocket_model_missing"),
        (str(tmp_path / "empty"), "pocket_file_missing"),
        (f"{model}@cuda:0", "pocket_device_unsupported"),
        (f"{model}?voice=nobody", "pocket_voice_unknown"),
        (f"{folders['unknown']}?config=klingon", "pocket_config_unknown"),
        (f"{folders['unknown']}", "pocket_not_loadable"),  # the package's own, which is wider
        *((str(folders[name]), "pocket_file_missing") for name in ("mute", "dumb")),
        (str(folders["broken"]), "pocket_not_loadable"),
    ):
        with pytest.raises(EngineUnavailable) as refused:
            Pocket(argument).load()
        assert refused.value.code == code
        assert refused.value.remedy
