"""CSM for real, from checkpoints of the true architecture with random weights: nothing is stood in for."""

import logging
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import (
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    SetupError,
)
from duologue.core.placement import Placement
from duologue.engines.base import Flush, StreamCancelled
from duologue.engines.csm import model as csm_model
from duologue.engines.csm import voices
from duologue.engines.csm.codec import MimiStream
from duologue.engines.csm.engine import SPEC, Csm
from duologue.engines.csm.sampling import Manner, pick
from duologue.engines.csm.speech import Speech
from duologue.ports import Audio, Event, Final, Say, TtsOptions
from tests.engines.contract import TtsContract
from tests.engines.voices.narrated import say
from tests.support.clips import clip

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch

from tests.engines.csm import tiny_csm

pytestmark = pytest.mark.full

FRAME = csm_model.FRAME_SAMPLES
GREEDY = "?temperature=0&max_new_tokens=12"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """With a voice beside it, and one whose text is missing."""
    for name in ("ada", "mute"):
        place = folder / name
        place.mkdir()
        with wave.open(str(place / "a.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(clip("commands-cards_003.flac", 16_000))
    (folder / "ada" / "a.txt").write_text("What is on\n the cards?\n")
    return tiny_csm.make(folder / "csm-tiny", unused=3)


def started(checkpoint: Path, options: str = "", **how: Any) -> Csm:
    engine = Csm(f"{checkpoint}@cpu:1/fp32{options}", **how)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Csm]:
    engine = started(checkpoint, "?max_new_tokens=12")
    engine.warm_up()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def greedy(checkpoint: Path) -> Iterator[Csm]:
    engine = started(checkpoint, GREEDY)
    yield engine
    engine.close()


class TestContract(TtsContract):
    CAN_CHANGE_SPEED = False

    @pytest.fixture
    def engine(self, engine: Csm) -> Csm:
        return engine


def loaded(engine: Csm) -> csm_model.Loaded:
    assert engine._loaded is not None
    return engine._loaded


def spoken(speech: Speech, text: str, frames: int = 2) -> list[Any]:
    """The codes of a piece, [1, codebooks] each."""
    speech.begin(text)
    while speech.chunk(frames, lambda: True) is not None:
        pass
    return list(speech._said)


# --- the same as Transformers' own ---
def generated(engine: Csm, *turns: dict[str, Any], frames: int = 12) -> Any:
    """What `generate` makes of a conversation, [frames, codebooks]; ids that stand for no code are forbidden."""
    it = loaded(engine)
    inputs = it.processor.apply_chat_template(list(turns), tokenize=True, return_dict=True)
    forbidden = [[n] for n in range(it.codes, it.model.config.vocab_size)]
    how = {"do_sample": False, "temperature": None, "bad_words_ids": forbidden}
    depth = {f"depth_decoder_{key}": value for key, value in how.items()}
    return it.model.generate(**inputs, max_new_tokens=frames, **how, **depth)[0]


def turn(text: str, sound: Any = None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if sound is not None:
        parts.append({"type": "audio", "path": sound})
    return {"role": "0", "content": parts}


def test_it_says_what_transformers_own_generation_says(greedy: Csm) -> None:
    it = loaded(greedy)
    said = torch.cat(spoken(Speech(it, greedy._manner, "0"), "Hello there."))
    assert torch.equal(said, generated(greedy, turn("Hello there.")))


def test_a_piece_is_said_in_the_hearing_of_the_one_before(greedy: Csm) -> None:
    it = loaded(greedy)
    speech = Speech(it, greedy._manner, "0")
    first = torch.stack(spoken(speech, "Hello there."), 1)
    second = torch.cat(spoken(speech, "And you?"))
    with torch.inference_mode():
        turns = (it.of_text("Hello there.", "0"), it.of_codes(first), it.end())
        heard = Speech(it, greedy._manner, "0", torch.cat(turns, 1))
    assert torch.equal(second, torch.cat(spoken(heard, "And you?")))
    alone = torch.cat(spoken(Speech(it, greedy._manner, "0"), "And you?"))
    assert not torch.equal(second, alone)


def test_a_clip_is_heard_as_transformers_processor_has_it_heard(greedy: Csm, folder: Path) -> None:
    ada = voices.read("ada", folder)
    assert ada.text == "What is on the cards?"
    prompt, gain = greedy._prompt_of("ada", lambda: False)
    assert 0.25 <= gain <= 4
    said = torch.cat(spoken(Speech(loaded(greedy), greedy._manner, "0", prompt), "Hello."))
    assert torch.equal(said, generated(greedy, turn(ada.text, ada.sound), turn("Hello.")))


@pytest.mark.parametrize("sizes", [[1] * 40, [2] * 20, [3, 1, 9, 7, 20]])
def test_sound_decoded_piece_by_piece_is_the_whole_sound(greedy: Csm, sizes: list[int]) -> None:
    """Forty frames are eight windows of the codec's transformer."""
    codec = loaded(greedy).model.codec_model
    codes = torch.randint(0, tiny_csm.CODES, (1, tiny_csm.CODEBOOKS, 40))
    with torch.inference_mode():
        whole = codec.decode(codes).audio_values[0, 0].numpy()
        stream = MimiStream(torch, codec)
        parts = [stream.decode(part) for part in codes.split(sizes, -1)]
    assert [len(part) for part in parts] == [size * FRAME for size in sizes]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5 * np.abs(whole).max())


# --- a piece's bounds ---
def test_a_speech_ends_with_its_last_frame(folder: Path) -> None:
    engine = started(tiny_csm.make(folder / "silent", says_nothing=True), GREEDY)
    assert say(engine, "Hello there.", "And you?").events == [Final(7, 2)]
    engine.close()


def test_the_next_piece_hears_the_end_as_the_model_was_taught_it(
    greedy: Csm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was drawn for the last codebook of the frame that ends."""
    it = loaded(greedy)
    speech = Speech(it, greedy._manner, "0")
    drawn = torch.tensor([[0] * (tiny_csm.CODEBOOKS - 1) + [5]])
    monkeypatch.setattr(speech, "_codes", lambda *_: drawn)
    assert spoken(speech, "Hello.") == []
    with torch.inference_mode():
        assert torch.equal(speech._pending, it.end())


def test_what_is_no_code_is_never_said(engine: Csm) -> None:
    it = loaded(engine)
    assert it.model.config.vocab_size == it.codes + 3
    codes = torch.cat(spoken(Speech(it, Manner(5.0, 0, max_frames=60), "0"), "x" * 99))
    assert len(codes) == 60
    assert int(codes.max()) < it.codes


def test_a_model_that_has_lost_its_way_is_stopped(engine: Csm) -> None:
    codes = spoken(Speech(loaded(engine), Manner(), "0"), "Hi.")
    assert len(codes) == 59  # 50 and 3 for each character


def test_an_answer_outgrows_the_context_and_goes_on(folder: Path) -> None:
    engine = started(tiny_csm.make(folder / "short", positions=110), "?max_new_tokens=12")
    it = loaded(engine)
    speech = Speech(it, engine._manner, "0")
    positions = []
    for number in range(5):
        assert len(spoken(speech, f"This is number {number}.")) == 12
        positions.append(speech.positions)
    assert max(positions) <= 110
    assert min(positions[2:]) > 60  # the last piece stays, two of 36 positions
    with pytest.raises(EngineLost) as caught:
        speech.begin("x" * 200)
    assert caught.value.code == "csm_text_too_long"
    engine.close()


# --- streaming ---
def test_figures_are_said_in_words(greedy: Csm) -> None:
    said = [say(greedy, text).sound().tobytes() for text in ("It is 12.", "It is twelve.")]
    assert said[0] == said[1]


def test_first_sound_comes_after_two_frames_and_each_chunk_at_once(
    engine: Csm, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 0
    real = Speech._frame

    def counted(self: Speech, wanted: Any) -> Any:
        nonlocal frames
        frames += 1
        return real(self, wanted)

    monkeypatch.setattr(Speech, "_frame", counted)
    seen: list[int] = []

    def emit(event: Event) -> None:
        if isinstance(event, Audio):
            seen.append(frames)

    engine.run(TtsOptions(), Inbox(Say(0, "Good morning to you all.")), emit)
    assert seen[0] <= 4
    assert seen == sorted(set(seen))
    assert frames >= 12


class Inbox:
    def __init__(self, *items: Say | Flush) -> None:
        self._items = items
        self.cancelled = False

    def __iter__(self) -> Iterator[Say | Flush]:
        return iter(self._items)


def test_a_stream_leaves_at_once_even_while_the_model_is_at_work(
    engine: Csm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the model leaves the frame between two codes."""
    at_work, go_on = threading.Event(), threading.Event()
    steps = 0
    real = engine._loaded.model.depth_decoder.model.forward  # type: ignore[union-attr]

    def slow(*args: Any, **how: Any) -> Any:
        nonlocal steps
        steps += 1
        at_work.set()
        assert go_on.wait(10)
        return real(*args, **how)

    monkeypatch.setattr(loaded(engine).model.depth_decoder.model, "forward", slow)
    inbox, left = Inbox(Say(0, "Good morning.")), threading.Event()
    took_ms = []

    def listen() -> None:
        with pytest.raises(StreamCancelled):
            engine.run(TtsOptions(), inbox, lambda _: None)
        took_ms.append((time.perf_counter() - began) * 1000)
        left.set()

    thread = threading.Thread(target=listen)
    began = time.perf_counter()
    thread.start()
    assert at_work.wait(10)
    began = time.perf_counter()
    inbox.cancelled = True
    assert left.wait(10)
    go_on.set()
    thread.join(10)
    assert took_ms[0] < 1000  # 50 is the contract's; here only that the model is not waited for
    engine._done("after", lambda: None, lambda: False)
    assert steps == 1


def test_streams_that_take_turns_say_what_they_would_have_said_alone(greedy: Csm) -> None:
    texts = ("Good morning to you all.", "One, two, three.", "The kettle is on.")
    alone = {text: say(greedy, text, "And more.").sound().tobytes() for text in texts}
    together: dict[str, bytes] = {}
    ready = threading.Barrier(len(texts))

    def talk(text: str) -> None:
        ready.wait(10)
        together[text] = say(greedy, text, "And more.").sound().tobytes()

    threads = [threading.Thread(target=talk, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert together == alone
    assert len(set(alone.values())) == len(texts)


# --- loading, warming up, failing ---
def test_warm_up_finds_the_pace_and_how_many_streams_it_allows(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock of its own: a call takes as long as it says."""
    for tick_ms, streams, words in ((1.0, 8, "8 streams"), (60_000.0, 2, "slower than speech")):
        engine = started(checkpoint, clock=count(0.0, tick_ms).__next__)
        with caplog.at_level(logging.INFO, "duologue.engines"):
            engine.warm_up()
        assert (engine.capabilities.max_streams, engine.speech_factor > 1) == (
            streams,
            streams == 2,
        )
        assert words in caplog.text
        engine.close()
    assert "Use kokoro, or a GPU" in caplog.text


def test_the_first_answer_after_warm_up_is_as_quick_as_the_later_ones(engine: Csm) -> None:
    def first_sound_ms() -> float:
        began = time.perf_counter()
        heard: list[float] = []

        def emit(event: Event) -> None:
            if isinstance(event, Audio) and not heard:
                heard.append((time.perf_counter() - began) * 1000)

        engine.run(TtsOptions(), Inbox(Say(0, "Good morning.")), emit)
        return heard[0]

    first, *later = [first_sound_ms() for _ in range(9)]
    assert first <= 3 * sorted(later)[len(later) // 2]  # 1.3 in fresh processes, measured apart


def test_voices_beside_the_model_are_listed_and_others_are_not(
    engine: Csm, greedy: Csm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.capabilities.voices[-2:] == ("9", "ada")
    prompt, _ = greedy._prompt_of("ada", lambda: False)
    monkeypatch.setitem(greedy._prompts, "ada", (prompt, 1.0))  # not told by its level alone
    sounds = {
        name: say(greedy, "Hello.", options=TtsOptions(voice=name)).sound().tobytes()
        for name in ("", "0", "1", "ada", "mute", "../ada", "nobody")
    }
    assert sounds[""] == sounds["0"] == sounds["mute"] == sounds["../ada"] == sounds["nobody"]
    assert len({sounds["0"], sounds["1"], sounds["ada"]}) == 3


def test_half_precision_is_for_the_words_and_not_for_the_sound(checkpoint: Path) -> None:
    engine = Csm(f"{checkpoint}@cpu:1/bf16?max_new_tokens=4")
    engine.load()
    it = loaded(engine)
    kinds = {part: next(getattr(it.model, part).parameters()).dtype for part in PARTS}
    assert kinds == {
        "backbone_model": torch.bfloat16,
        "depth_decoder": torch.bfloat16,
        "codec_model": torch.float32,
    }
    assert say(engine, "Hello.", options=TtsOptions(voice="ada")).seconds() > 0
    engine.close()


PARTS = ("backbone_model", "depth_decoder", "codec_model")


def test_memory_that_runs_out_is_told_as_such(engine: Csm, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with monkeypatch.context() as patch:
        patch.setattr(loaded(engine).model.backbone_model, "forward", fail)
        with pytest.raises(EngineOutOfMemory):
            say(engine, "Hello.")
    assert say(engine, "Hello.").seconds() > 0


def unavailable(argument: str) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        Csm(argument).load()
    return caught.value


def test_what_is_missing_is_named(checkpoint: Path, tmp_path: Path) -> None:
    assert unavailable("").code == "csm_model_unnamed"
    assert unavailable("no-such-model").code == "model_not_installed"
    assert unavailable(str(tmp_path / "absent")).code == "csm_model_missing"
    assert unavailable(f"{checkpoint}?voice=mute&contest=off").code == "csm_voice_unusable"
    other = shutil.copytree(checkpoint, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "llama"}')
    assert unavailable(str(other)).code == "csm_other_model"
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (bare / name).unlink(missing_ok=True)
    assert unavailable(f"{bare}@cpu").code == "csm_processor_missing"


def test_a_clip_that_cannot_be_used_is_told_with_its_cause(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "ada", tmp_path / "eve")
    (tmp_path / "eve" / "a.txt").write_text(" \n")
    with pytest.raises(EngineUnavailable, match="text is empty"):
        voices.read("eve", tmp_path)
    (tmp_path / "eve" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        voices.read("eve", tmp_path)
    with wave.open(str(tmp_path / "eve" / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(4 * 8_000 * 40))
    with pytest.raises(EngineUnavailable, match=r"lasts 40\.0 s"):
        voices.read("eve", tmp_path)


@pytest.mark.parametrize(
    "option", ["temperature=hot", "temperature=-1", "top_p=0", "top_p=1.5", "max_new_tokens=0"]
)
def test_an_option_that_makes_no_sense_is_refused(option: str) -> None:
    with pytest.raises(SetupError) as caught:
        Csm(f"csm-1b?{option}")
    assert caught.value.code == "csm_option_invalid"


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(SetupError) as caught:
        Csm("csm-1b?temprature=0.9")
    assert caught.value.code == "csm_option_unknown"


def test_options_are_read() -> None:
    manner = Manner.of(Placement.parse("m?temperature=0.5&top_p=0.9&top_k=7&max_new_tokens=99"))
    assert manner == Manner(0.5, 7, 0.9, 99)
    assert Manner.of(Placement.parse("m")) == Manner(0.9, 50, 1.0, 2048)


def test_codes_are_drawn_from_the_best_as_often_as_their_scores_say() -> None:
    torch.manual_seed(1)
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[None].expand(20_000, -1)

    def shares(manner: Manner) -> list[float]:
        drawn = pick(torch, scores, manner)[:, 0]
        return [round(float((drawn == n).float().mean()), 2) for n in range(4)]

    assert shares(Manner(0)) == [1, 0, 0, 0]
    assert shares(Manner(1.0, 0)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.02)
    assert shares(Manner(1.0, 2)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(Manner(1.0, 0, 0.6)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(Manner(0.5, 0)) == pytest.approx([0.685, 0.247, 0.062, 0.007], abs=0.02)


def test_the_name_of_a_model_is_written_out(tmp_path: Path) -> None:
    assert SPEC.locate is not None
    assert SPEC.locate("csm-1b@cuda:1/bf16?top_k=9", tmp_path) == (
        f"{tmp_path}/csm-1b@cuda:1/bf16?top_k=9"
    )
    assert SPEC.locate("./csm", tmp_path) == "./csm"
    assert (SPEC.role, SPEC.is_own_process, csm_model.RATE_HZ) == (Role.TTS, True, 24_000)
