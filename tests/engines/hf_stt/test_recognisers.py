"""Whisper and Voxtral on Transformers for real, from checkpoints of the true architecture with random weights."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import (
    EngineLost,
    EngineOutOfMemory,
    EngineRefused,
    EngineUnavailable,
    SetupError,
)
from duologue.engines.base import Flush, Item, StreamCancelled
from duologue.engines.hf_stt import recogniser, voxtral, whisper
from duologue.engines.hf_stt.recogniser import Recogniser
from duologue.engines.hf_stt.stream import Work
from duologue.engines.hf_stt.voxtral import Voxtral
from duologue.engines.hf_stt.whisper import TransformersWhisper
from duologue.engines.torchkit import loading
from duologue.engines.whisper.speech_window import LIMIT_MS
from duologue.ports import Event, Final, Partial, SttOptions
from tests.engines.contract import SttContract, frames_of
from tests.support.clips import clip

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("mistral_common")
import torch

from tests.engines.hf_stt import tiny_models

pytestmark = pytest.mark.full

NUMBERS = "commands-numbers.flac"
CARDS = "commands-cards_003.flac"
NABU = "wake-okay_nabu_2.flac"
ENGLISH = SttOptions("en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.make_whisper(folder / "whisper")
    tiny_models.make_voxtral(folder / "voxtral")
    return folder


def started(engine: Recogniser) -> Recogniser:
    engine.load()
    return engine


def ticks(tick_ms: float = 1.0) -> Callable[[], float]:
    """A clock by which each call takes so long, however busy this machine is."""
    return count(0.0, tick_ms).__next__


@pytest.fixture(scope="module")
def hearing(folder: Path) -> Iterator[Recogniser]:
    """Whisper."""
    engine = started(TransformersWhisper(f"{folder / 'whisper'}@cpu:1/fp32", clock=ticks()))
    engine.warm_up()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def listening(folder: Path) -> Iterator[Recogniser]:
    """Voxtral."""
    engine = started(Voxtral(f"{folder / 'voxtral'}@cpu:1/fp32", clock=ticks()))
    engine.warm_up()
    yield engine
    engine.close()


class TestWhisper(SttContract):
    @pytest.fixture
    def engine(self, hearing: Recogniser) -> Recogniser:
        return hearing


class TestVoxtral(SttContract):
    @pytest.fixture
    def engine(self, listening: Recogniser) -> Recogniser:
        return listening


class Inbox:
    def __init__(self, *items: Item) -> None:
        self._items = items
        self.cancelled = False

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


def events_of(engine: Recogniser, *items: Item, options: SttOptions = ENGLISH) -> list[Event]:
    events: list[Event] = []
    engine.run(options, Inbox(*items), events.append)
    return events


def text_of(engine: Recogniser, name: str, options: SttOptions = ENGLISH) -> str:
    final = events_of(engine, *frames_of(clip(name)), Flush(1), options=options)[-1]
    assert isinstance(final, Final)
    return final.text


@pytest.fixture(params=["hearing", "listening"])
def either(request: pytest.FixtureRequest) -> Recogniser:
    engine: Recogniser = request.getfixturevalue(request.param)
    return engine


# --- what is heard ---
def test_what_is_said_follows_from_the_sound(either: Recogniser) -> None:
    texts = {name: text_of(either, name) for name in (NUMBERS, CARDS, NABU)}
    assert len(set(texts.values())) == 3
    assert all(set(text) <= set(tiny_models.LETTERS) for text in texts.values())
    assert texts == {name: text_of(either, name) for name in texts}


def test_a_language_is_told_to_the_model_and_one_it_lacks_is_detected(either: Recogniser) -> None:
    texts = {code: text_of(either, NUMBERS, SttOptions(code)) for code in ("en", "de", "", "xx")}
    assert texts["en"] == text_of(either, NUMBERS, SttOptions("en-GB"))
    assert texts["xx"] == texts[""]
    assert texts["en"] != texts["de"]


def test_the_language_that_whisper_detects_is_reported(
    hearing: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    real = hearing._model.generate

    def generate(*features: Any, **how: Any) -> Any:
        asked.append(how["language"])
        return real(*features, **how)

    monkeypatch.setattr(hearing._model, "generate", generate)
    sound = frames_of(clip(NUMBERS))
    found = events_of(hearing, *sound, Flush(1), options=SttOptions())[-1]
    detected = (
        asked.copy()
    )  # for its partials, too, of which there are as many as there was time for
    asked.clear()
    told = events_of(hearing, *sound, Flush(1), options=SttOptions("zh-CN"))[-1]
    assert isinstance(found, Final)
    assert isinstance(told, Final)
    assert found.language in tiny_models.LANGUAGES
    assert detected[-1] == found.language
    assert set(asked) == {"zh"}
    assert told.language == ""
    again = events_of(hearing, *sound, Flush(1), options=SttOptions(found.language))[-1]
    assert again == replace(found, language="")
    silence = events_of(hearing, *frames_of(bytes(64_000)), Flush(1), options=SttOptions())[-1]
    assert silence == Final(1, 32_000)


def test_silence_is_not_asked_about(either: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(either._model, "generate", None)
    assert events_of(either, *frames_of(bytes(96_000)), Flush(4)) == [Final(4, 48_000)]


def test_what_is_longer_than_the_window_is_cut_and_joined(either: Recogniser) -> None:
    pcm = clip(NUMBERS) * (LIMIT_MS * 32 // len(clip(NUMBERS)) + 1)
    final = events_of(either, *frames_of(pcm), Flush(1))[-1]
    assert isinstance(final, Final)
    assert (final.upto, len(final.text.split())) == (len(pcm) // 2, 2)


def test_partials_come_while_sound_still_comes(
    either: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    assert either._shared is not None
    real = either._shared.ask

    def ask(owner: Any, work: Work, *, is_final: bool) -> Any:
        asked.append(real(owner, work, is_final=is_final))
        return asked[-1]

    class Patient(Inbox):
        """More sound comes once the first partial is known."""

        def __iter__(self) -> Iterator[Item]:
            *before, last = frames_of(clip(CARDS))
            yield from before
            assert asked[0].wait(10)
            yield last
            yield Flush(1)

    monkeypatch.setattr(either._shared, "ask", ask)
    events: list[Event] = []
    either.run(ENGLISH, Patient(), events.append)
    assert [type(event) for event in events] == [Partial, Final]
    assert (asked[0].is_final, asked[-1].is_final) == (False, True)


# --- nobody waits for what nobody wants ---
def test_a_call_that_nobody_wants_ends_at_its_next_token(
    either: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, dropped = Inbox(*frames_of(clip(NABU)[: 2 * 15_000]), Flush(1)), []
    real = Recogniser.bound

    def watched(self: Recogniser, work: Work) -> dict[str, Any]:
        bound = real(self, work)
        (stop,) = bound["stopping_criteria"]

        def step(ids: Any, scores: Any, **how: Any) -> Any:
            inbox.cancelled = True
            dropped.append(work.dropped.wait(5))
            return stop(ids, scores, **how)

        return {**bound, "stopping_criteria": [step]}

    monkeypatch.setattr(Recogniser, "bound", watched)
    with pytest.raises(StreamCancelled):
        either.run(ENGLISH, inbox, lambda _: None)
    monkeypatch.undo()
    assert text_of(either, NABU)  # comes after it
    assert dropped == [True]


def test_a_partial_gives_way_to_its_final(either: Recogniser) -> None:
    from duologue.engines.hf_stt.stream import Manner, Stream

    assert either._shared is not None
    stream = Stream(either._shared, Manner("en"), Inbox(), lambda _: None)
    for frame in frames_of(clip(NABU))[:40]:
        stream.take(frame)
    assert stream._partial is not None
    _, work = stream._partial
    assert not work.dropped.is_set()
    stream.take(Flush(1))
    assert work.dropped.is_set()


# --- Whisper's own ---
def test_hints_go_before_the_text_and_are_not_part_of_it(hearing: Recogniser) -> None:
    plain = text_of(hearing, NUMBERS)
    hinted = text_of(hearing, NUMBERS, SttOptions("en", hints=("zebra crossing",)))
    assert hinted != plain
    assert "zebra" not in hinted


def test_translation_is_told_to_the_model(hearing: Recogniser, listening: Recogniser) -> None:
    translated = text_of(hearing, NUMBERS, SttOptions("de", task="translate"))
    assert translated != text_of(hearing, NUMBERS, SttOptions("de"))
    with pytest.raises(EngineRefused) as caught:
        text_of(listening, NUMBERS, SttOptions("de", task="translate"))
    assert caught.value.code == "stt_translation_not_supported"


def test_an_english_model_is_asked_for_english(folder: Path) -> None:
    place = tiny_models.make_whisper(folder / "english", multilingual=False)
    engine = started(TransformersWhisper(f"{place}@cpu:1/fp32?beams=2"))
    assert (engine.capabilities.languages, engine.capabilities.translates) == (("en",), False)
    assert text_of(engine, NABU, SttOptions("de"))
    engine.close()


def test_what_the_model_takes_for_no_speech_is_no_text(folder: Path) -> None:
    engine = started(
        TransformersWhisper(
            f"{tiny_models.make_whisper(folder / 'deaf', hears_nothing=True)}@cpu:1/fp32"
        )
    )
    assert text_of(engine, NUMBERS) == ""
    engine.close()


# --- loading, warming up, failing ---
def test_warm_up_finds_how_many_streams_are_answered_in_time(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock of its own: a call takes as long as it says."""
    for tick_ms, streams in ((1_000.0, 4), (9_000.0, 2)):
        engine = TransformersWhisper(f"{folder / 'whisper'}@cpu:1/fp32", clock=ticks(tick_ms))
        engine.load()
        with caplog.at_level(logging.WARNING, "duologue.engines"):
            engine.warm_up()
        assert engine.capabilities.max_streams == streams
        assert ("9000 ms a call" in caplog.text) is (tick_ms == 9_000)
        engine.close()


def test_memory_that_runs_out_and_other_failures_are_told_apart(
    either: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, kind, code in (
        (torch.OutOfMemoryError("CUDA out of memory."), EngineOutOfMemory, "out_of_memory"),
        (RuntimeError("CUDA error: device-side assert"), EngineLost, "stt_failed"),
    ):

        def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(either._model, "generate", fail)
            with pytest.raises(kind) as caught:
                text_of(either, NABU)
        assert caught.value.code == code
    assert text_of(either, NABU)


BOTH = pytest.mark.parametrize(
    ("make", "name"), [(TransformersWhisper, "whisper"), (Voxtral, "voxtral")]
)


@BOTH
def test_the_fastest_way_is_found_once(
    make: type[Recogniser],
    name: str,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In int8 it is made to say something else, and does not win."""
    quantised = loading.quantised

    def spoiled(torch_: Any, model: Any) -> Any:
        for weights in model.parameters():
            weights.data.normal_(0, 0.5)
        return quantised(torch_, model)

    monkeypatch.setattr(loading, "quantised", spoiled)
    caplog.set_level(logging.INFO, "duologue.engines")
    for before in (False, True):
        caplog.clear()
        engine = make(f"{folder / name}@cpu:1", verdicts=tmp_path / "verdicts")
        started(engine).close()
        (told,) = (line for line in caplog.messages if " wins (" in line)
        assert ("as timed before" in told) is before
        tried = ("fp32 sdpa: ", "int8 sdpa: its answers differ", "bf16 sdpa: ", "fp32 eager: ")
        assert [way for way in tried if way in told] == list(tried)
        assert "does not run" not in told
    caplog.clear()
    off = make(f"{folder / name}@cpu:1?contest=off&attention=eager", verdicts=tmp_path / "none")
    assert started(off)._model.config._attn_implementation == "eager"
    off.close()
    assert " wins " not in caplog.text
    assert not (tmp_path / "none").exists()


@BOTH
def test_ways_are_compared_by_what_the_model_really_says(
    make: type[Recogniser], name: str, folder: Path
) -> None:
    """Word by word, with what it has kept, as in one go."""
    engine = started(make(f"{folder / name}@cpu:1/fp32"))
    model = engine._model
    steps = engine._tried(model)
    with torch.inference_mode():
        given, word = engine.given(model, Work(recogniser._noise()))
        words = (torch.arange(recogniser.PROBE_TOKENS) * 7 + recogniser.PROBE_FROM)[None]
        given[word] = torch.cat((given[word], words), 1)
        given.pop("attention_mask", None)
        whole = model(**given).logits[0, -len(steps) :]
    assert len(steps) == recogniser.PROBE_TOKENS + 1
    torch.testing.assert_close(steps, whole, rtol=1e-3, atol=1e-3)
    engine.close()


def unavailable(engine: Recogniser) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        engine.load()
    return caught.value


@BOTH
def test_what_is_missing_is_named(
    make: type[Recogniser], name: str, folder: Path, tmp_path: Path
) -> None:
    assert unavailable(make("")).code == f"{make.name}_model_unnamed"
    assert unavailable(make("no-such-model")).code == "model_not_installed"
    other = {"whisper": "voxtral", "voxtral": "whisper"}[name]
    error = unavailable(make(str(folder / other)))
    assert error.code == "stt_other_model"
    assert f"'{other}'" in error.message
    bare = shutil.copytree(folder / name, tmp_path / "bare")
    for file in ("tokenizer.json", "tokenizer_config.json", "tekken.json"):
        (bare / file).unlink(missing_ok=True)
    assert unavailable(make(str(bare))).code == "stt_processor_missing"
    wrong = shutil.copytree(folder / name, tmp_path / "wrong")
    for path in wrong.glob("p*r_config.json"):
        text = path.read_text()
        path.write_text(
            text.replace('"feature_size": 80', '"feature_size": 64').replace("128", "64")
        )
    assert unavailable(make(f"{wrong}@cpu:1/fp32")).code == "stt_features_differ"


def test_without_the_extra_the_remedy_is_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mistral_common", None)
    error = unavailable(Voxtral(str(folder / "voxtral")))
    assert (error.code, "duologue[voxtral]" in error.remedy) == ("voxtral_missing", True)


def test_an_option_that_makes_no_sense_is_refused(folder: Path) -> None:
    with pytest.raises(SetupError):
        TransformersWhisper(f"{folder / 'whisper'}@cpu:1?contest=maybe").load()
    for beams in ("0", "11", "many"):
        engine = TransformersWhisper(f"{folder / 'whisper'}@cpu:1/fp32?beams={beams}")
        with pytest.raises(SetupError) as caught:
            engine.load()
        assert caught.value.code == "stt_option_invalid"


def test_what_they_declare(folder: Path) -> None:
    config = json.loads((folder / "voxtral" / "config.json").read_text())
    assert config["architectures"] == [Voxtral.model_class]
    for spec in (whisper.SPEC, voxtral.SPEC):
        assert (spec.role, spec.is_own_process) == (Role.STT, True)
        assert spec.locate is not None
        assert spec.locate("m@cuda:1/bf16", folder) == f"{folder}/m@cuda:1/bf16"
