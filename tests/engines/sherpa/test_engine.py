"""Streaming recognition for real: sherpa-onnx's own loading and decoding, of toy models in Zipformer's layout."""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineRefused,
    EngineUnavailable,
    SetupError,
)
from duologue.engines.base import Flush, StreamCancelled
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.sherpa.engine import SPEC, Sherpa
from duologue.ports import Event, Final, Partial, SttOptions
from tests.engines.contract import SttContract, frames_of
from tests.support.clips import clip, silence

pytest.importorskip("sherpa_onnx")
pytest.importorskip("onnx")
import onnx

from tests.engines.sherpa import tiny_zipformer

pytestmark = pytest.mark.full

CARDS = "commands-cards_003.flac"
LJ = "lj-LJ001-0002.flac"
NUMBERS = "commands-numbers.flac"
CLIPS = (CARDS, LJ, NUMBERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_zipformer.make(tmp_path_factory.mktemp("models") / "tiny")


def loaded(argument: str | Path) -> Sherpa:
    engine = Sherpa(str(argument))
    engine.load()
    engine.warm_up()
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Sherpa]:
    engine = loaded(f"{folder}@cpu:4")
    yield engine
    engine.close()


class TestSherpa(SttContract):
    @pytest.fixture
    def engine(self, engine: Sherpa) -> Sherpa:
        return engine


def speech(name: str) -> bytes:
    return clip(name, 16_000)


Step = AudioFrame | Flush | Callable[[], object]


class Script:
    """An inbox that does something between two items."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.cancelled = False

    def __iter__(self) -> Iterator[AudioFrame | Flush]:
        for step in self._steps:
            if isinstance(step, AudioFrame | Flush):
                yield step
            else:
                step()


def played(engine: Sherpa, *steps: Step, options: SttOptions | None = None) -> list[Event]:
    events: list[Event] = []
    engine.run(options or SttOptions("en"), Script(*steps), events.append)
    return events


def heard(engine: Sherpa, pcm: bytes, options: SttOptions | None = None) -> Final:
    final = played(engine, *frames_of(pcm), Flush(1), options=options)[-1]
    assert isinstance(final, Final)
    return final


# --- one stream ---
def test_what_is_heard_follows_from_the_sound(engine: Sherpa) -> None:
    texts = {name: heard(engine, speech(name)).text for name in CLIPS}
    assert all(texts.values())
    assert len(set(texts.values())) == len(CLIPS)
    assert heard(engine, silence(2_000, 16_000)).text == ""


def test_partials_come_while_sound_still_comes_and_grow(folder: Path) -> None:
    engine = loaded(f"{folder}?search=greedy")
    frames = frames_of(speech(NUMBERS))
    seen: list[tuple[int, str]] = []
    events: list[Event] = []

    def look(at: int) -> None:
        seen.extend((at, e.text) for e in events if isinstance(e, Partial))
        events.clear()

    steps: list[Step] = []
    for n, frame in enumerate(frames):
        steps += [frame, lambda n=n: look(n)]  # type: ignore[misc]
    engine.run(SttOptions("en"), Script(*steps, Flush(1)), events.append)
    last = events[-1]
    assert isinstance(last, Final)
    assert len(seen) >= 8
    assert len({at for at, _ in seen}) == len(seen)  # one at a time, each with some frames between
    assert all(b.startswith(a) for (_, a), (_, b) in pairwise(seen))
    assert last.text.startswith(seen[-1][1])
    engine.close()


def test_an_utterance_knows_nothing_of_the_one_before(engine: Sherpa) -> None:
    one, two = speech(CARDS), speech(LJ)
    events = played(
        engine, *frames_of(one), Flush(1), *frames_of(two, len(one) // 2), Flush(2), Flush(3)
    )
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.text for final in finals] == [heard(engine, pcm).text for pcm in (one, two)] + [
        ""
    ]


def test_sound_in_other_portions_is_heard_the_same(engine: Sherpa) -> None:
    pcm = speech(CARDS)
    odd = [AudioFrame(pcm[at : at + 202], at // 2) for at in range(0, len(pcm), 202)]
    final = played(engine, *odd, Flush(1))[-1]
    assert isinstance(final, Final)
    assert final.text == heard(engine, pcm).text


def test_the_last_sound_before_a_flush_is_heard(engine: Sherpa) -> None:
    """However little of a step it fills: a fifth of a second, at each place in a step."""
    syllable = speech(CARDS)[16_000:][: 2 * 3_200]
    for lead_ms in range(500, 820, 40):
        assert heard(engine, silence(lead_ms, 16_000) + syllable).text


def test_words_lie_where_they_are_said(engine: Sherpa) -> None:
    pcm, start = silence(2_000, 16_000) + speech(CARDS), 160_000
    frames = frames_of(pcm, start)
    final = played(engine, *frames, Flush(1), options=SttOptions("en", word_times=True))[-1]
    assert isinstance(final, Final)
    assert " ".join(word.text for word in final.words) == final.text
    assert final.words[0].start_ms >= start / 16 + 1_900
    assert all(word.logprob is not None and word.logprob <= 0 for word in final.words)
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(final.words))


def test_words_that_were_not_asked_for_are_not_told(engine: Sherpa) -> None:
    assert heard(engine, speech(CARDS)).words == ()


def test_a_hint_tips_the_scales(engine: Sherpa) -> None:
    """Between two readings that are about equally likely for this model."""
    pcm = speech(CARDS)
    assert "barogodiro" not in heard(engine, pcm).text
    for hint in ("barogodiro", "BaroGoDiro", "東京"):
        hinted = heard(engine, pcm, SttOptions("en", ("東京", hint)))
        assert ("barogodiro" in hinted.text) is (hint != "東京")


def test_without_a_vocabulary_hints_are_taken_and_have_no_effect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "duologue.engines"):
        engine = loaded(tiny_zipformer.make(tmp_path / "m", with_vocabulary=False))
    assert "no bpe.vocab" in caplog.text
    pcm = speech(CARDS)
    assert heard(engine, pcm, SttOptions("en", ("barogodiro",))).text == heard(engine, pcm).text
    engine.close()


def test_the_vocabulary_of_sentencepiece_will_do_for_hints(tmp_path: Path) -> None:
    model = tiny_zipformer.make(tmp_path / "m", with_vocabulary=False)
    (model / "bpe.model").write_bytes(tiny_zipformer.sentencepiece())
    engine = loaded(model)
    assert "barogodiro" in heard(engine, speech(CARDS), SttOptions("en", ("barogodiro",))).text
    engine.close()
    (model / "bpe.model").write_bytes(tiny_zipformer.sentencepiece()[:-1])
    assert unavailable(model).code == "sherpa_not_loadable"


def test_a_model_of_capitals_is_told_in_lower_case_and_takes_hints_in_any(tmp_path: Path) -> None:
    small = loaded(tiny_zipformer.make(tmp_path / "m"))
    text = heard(small, speech(CARDS)).text
    for name in ("tokens.txt", "bpe.vocab"):
        path = tmp_path / "m" / name
        path.write_text(path.read_text("utf-8").upper().replace("<BLK>", "<blk>"), "utf-8")
    large = loaded(tmp_path / "m")
    final = heard(large, speech(CARDS), SttOptions("en", word_times=True))
    assert final.text == text == " ".join(word.text for word in final.words)
    assert "barogodiro" in heard(large, speech(CARDS), SttOptions("en", ("barogodiro",))).text


def test_what_it_cannot_do_is_refused(folder: Path) -> None:
    engine = loaded(f"{folder}?language=zh,EN")
    assert engine.capabilities.languages == ("zh", "en")
    assert heard(engine, speech(CARDS), SttOptions("en-GB")).text
    for options in (SttOptions("de"), SttOptions(task="translate")):
        with pytest.raises(EngineRefused):
            played(engine, Flush(1), options=options)
    engine.close()


# --- several streams ---
def test_a_stream_that_waits_for_a_thread_is_cancelled_at_once(folder: Path) -> None:
    engine = loaded(f"{folder}@cpu:1")
    script = Script(*frames_of(speech(NUMBERS)), Flush(1))
    events: list[Event] = []
    ended = threading.Event()

    def run() -> None:
        try:
            engine.run(SttOptions("en"), script, events.append)
        except StreamCancelled:
            ended.set()

    with engine._turns:  # the only thread is taken
        thread = threading.Thread(target=run)
        thread.start()
        script.cancelled = True
        assert ended.wait(10)
    thread.join(10)
    assert events == []
    assert heard(engine, speech(CARDS)).text  # and the thread was given back
    engine.close()


def test_the_lock_of_python_is_free_while_it_decodes(
    tmp_path: Path, restore_switch_interval: None
) -> None:
    """Nobody is made to give the lock up in this test, so what runs beside a step runs because it was given up."""
    engine = loaded(tiny_zipformer.make(tmp_path / "m", layers=60))
    recogniser, stream = engine._recogniser, engine.open_stream(())
    ran, stop = [0], threading.Event()

    def run_beside() -> None:
        while not stop.is_set():
            ran[0] += 1
            time.sleep(0)

    sys.setswitchinterval(60)
    beside = threading.Thread(target=run_beside)
    beside.start()
    stream.accept_waveform(
        16_000, np.frombuffer(speech(NUMBERS), "<i2").astype(np.float32) / 32_768
    )
    meanwhile = 0
    while recogniser.is_ready(stream):
        before = ran[0]
        recogniser.decode_stream(stream)
        meanwhile += ran[0] - before
    stop.set()
    beside.join(10)
    assert meanwhile > 0
    engine.close()


@pytest.fixture
def restore_switch_interval() -> Iterator[None]:
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize(("threads", "streams"), [(1, 3), (4, 12), (99, 64)])
def test_slow_models_take_fewer_streams_and_more_threads_more(
    folder: Path, threads: int, streams: int
) -> None:
    """By a clock on which a step takes 60 ms, less than a fifth of its sound."""
    engine = Sherpa(f"{folder}@cpu:{threads}", clock=count(0.0, 60.0).__next__)
    engine.load()
    engine.warm_up()
    assert engine.capabilities.max_streams == streams


async def test_it_runs_in_a_process_of_its_own(folder: Path, engine: Sherpa) -> None:
    spec = replace(SPEC, name="duologue.engines.sherpa.engine.SPEC")
    assert spec.is_own_process
    async with SubprocessPool(spec, str(folder)) as pool:
        await pool.start()
        assert pool.capabilities.ram_mib == engine.capabilities.ram_mib
        stream = await pool.open(Role.STT, "s", SttOptions("en"))
        for frame in frames_of(speech(CARDS)):
            while not stream.offer(frame):
                await stream.room()
        stream.flush(1)
        async for event in stream.events():
            if isinstance(event, Final):
                assert event.text == heard(engine, speech(CARDS)).text
                break
        await stream.aclose()


# --- what is missing or wrong ---
def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def unavailable(argument: str | Path) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        Sherpa(str(argument)).load()
    return caught.value


def without_entry(path: Path, name: str) -> None:
    model = onnx.load(str(path))
    kept = {prop.key: prop.value for prop in model.metadata_props if prop.key != name}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, str(path))


def test_the_entries_of_a_real_file_are_read(folder: Path) -> None:
    from duologue.engines.sherpa import metadata

    assert metadata.read(folder / "encoder-tiny.onnx") == tiny_zipformer.METADATA


@pytest.mark.parametrize("name", ["encoder-tiny.onnx", "joiner-tiny.onnx", "tokens.txt"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    broken = copied(folder, tmp_path / "m")
    (broken / name).unlink()
    error = unavailable(broken)
    assert error.code == "sherpa_file_missing"
    assert name.partition("-")[0] in error.message


@pytest.mark.parametrize("name", ["decode_chunk_len", "value_head_dims"])
def test_a_model_that_does_not_say_what_it_is_does_not_end_the_process(
    folder: Path, tmp_path: Path, name: str
) -> None:
    broken = copied(folder, tmp_path / "m")
    without_entry(broken / "encoder-tiny.onnx", name)
    error = unavailable(broken)
    assert error.code == "sherpa_metadata_missing"
    assert name in error.message
    without_entry(broken / "encoder-tiny.onnx", "model_type")
    assert unavailable(broken).code == "sherpa_model_unknown"


def test_half_a_file_and_too_few_tokens_are_told(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "m")
    tokens = broken / "tokens.txt"
    tokens.write_text("".join(tokens.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    assert unavailable(broken).code == "sherpa_tokens_differ"
    encoder = broken / "encoder-tiny.onnx"
    encoder.write_bytes(encoder.read_bytes()[:20_000])
    assert unavailable(broken).code == "sherpa_file_damaged"


def test_weights_that_are_no_weights_are_told(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "m")
    model = onnx.load(str(broken / "joiner-tiny.onnx"))
    model.graph.node[0].op_type = "NoSuchThing"
    onnx.save(model, str(broken / "joiner-tiny.onnx"))
    error = unavailable(broken)
    assert error.code == "sherpa_not_loadable"
    assert "NoSuchThing" in error.message


def test_the_files_of_a_precision_are_chosen(folder: Path, tmp_path: Path) -> None:
    both = copied(folder, tmp_path / "m")
    for part in ("encoder", "decoder", "joiner"):
        shutil.copy(both / f"{part}-tiny.onnx", both / f"{part}-tiny.int8.onnx")
    names = {}
    for precision in ("", "@auto/int8", "@cpu/fp32"):
        engine = loaded(f"{both}{precision}")
        model = engine._model
        assert model is not None
        names[precision] = [model.encoder.name, model.decoder.name, model.joiner.name]
    assert names == {
        "": ["encoder-tiny.int8.onnx", "decoder-tiny.onnx", "joiner-tiny.int8.onnx"],
        "@auto/int8": [f"{part}-tiny.int8.onnx" for part in ("encoder", "decoder", "joiner")],
        "@cpu/fp32": [f"{part}-tiny.onnx" for part in ("encoder", "decoder", "joiner")],
    }
    assert unavailable(f"{folder}@cpu/int8").code == "sherpa_file_missing"


def test_a_name_is_looked_up_and_no_name_is_told(folder: Path, tmp_path: Path) -> None:
    assert unavailable("").code == "sherpa_model_unnamed"
    assert SPEC.locate is not None
    located = SPEC.locate("tiny@cpu:1", folder.parent)
    assert located == f"{folder}@cpu:1"
    assert SPEC.locate(located, tmp_path) == located
    assert loaded(located).capabilities.max_streams >= 1


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("m@cuda", "sherpa_device_unknown"),
        ("m@cpu/q4", "sherpa_precision_unknown"),
        ("m?search=wide", "sherpa_option_unknown"),
        ("m?threads=3", "sherpa_option_unknown"),
        ("m@cpu:0", "placement_without_threads"),
    ],
)
def test_what_it_does_not_have_is_refused(argument: str, code: str) -> None:
    with pytest.raises(SetupError) as caught:
        Sherpa(argument)
    assert caught.value.code == code


@pytest.mark.parametrize("spoken_first", [False, True])
def test_a_closed_engine_answers_with_an_error(folder: Path, spoken_first: bool) -> None:
    engine = loaded(folder)
    frames = frames_of(speech(CARDS))
    before = frames if spoken_first else []
    with pytest.raises(EngineError) as caught:
        played(engine, *before, engine.close, *frames, Flush(1))
    assert caught.value.code == "engine_closed"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Failed to allocate memory for requested buffer"), EngineOutOfMemory),
        (RuntimeError("Non-zero status code"), EngineLost),
    ],
)
def test_what_the_library_raises_ends_the_stream_with_its_cause(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[EngineError]
) -> None:
    engine = loaded(folder)

    def fail(stream: object) -> None:
        raise error

    monkeypatch.setattr(engine._recogniser, "decode_stream", fail)
    with pytest.raises(kind) as caught:
        heard(engine, speech(CARDS))
    assert caught.value.__cause__ is error
    engine.close()


def test_without_the_extra_the_remedy_is_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    error = unavailable(folder)
    assert (error.code, "duologue[sherpa]" in error.remedy) == ("sherpa_missing", True)
