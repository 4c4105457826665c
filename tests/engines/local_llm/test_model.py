"""A language model in this process: real architectures with random weights."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineOutOfMemory, EngineUnavailable, OurError
from duologue.engines.local_llm.decoding import Decoder, Detokenizer, Sampler
from duologue.engines.local_llm.fitting import Line
from duologue.engines.local_llm.model import STEADY, WARM_UPS, LocalModel, Told, check_cache
from duologue.engines.local_llm.wanted import Wanted

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers

from tests.engines.local_llm import tiny_llm

pytestmark = pytest.mark.full

GREEDY = "@cpu:1/fp32?temperature=0&repetition_penalty=1"
HELLO = (Line("system", "Be brief."), Line("user", "Hello, how are you?"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def llama(folder: Path) -> LocalModel:
    return loaded(tiny_llm.make_llama(folder / "llama"))


@pytest.fixture(scope="module")
def gpt2(folder: Path) -> LocalModel:
    return loaded(tiny_llm.make_gpt2(folder / "gpt2"))


def loaded(path: Path, options: str = GREEDY) -> LocalModel:
    model = LocalModel(f"{path}{options}", verdicts=path.parent / "verdicts")
    model.load()
    return model


def ask(model: LocalModel, lines: Sequence[Line] = HELLO, limit: int = 20) -> tuple[str, Told]:
    said: list[str] = []
    told = model.answer(lines, limit, said.append, lambda: False)
    return "".join(said), told


def parts(model: LocalModel) -> tuple[Any, Any, Any]:
    assert model._form is not None
    assert model._decoder is not None
    return model._form, model._decoder, model._tokenizer


# --- the words are the model's ---
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_answer_is_what_transformers_itself_generates(
    name: str, request: pytest.FixtureRequest
) -> None:
    model: LocalModel = request.getfixturevalue(name)
    form, decoder, tokenizer = parts(model)
    prompt = form.encode(HELLO)
    ids = torch.tensor([prompt])
    whole = decoder._model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, pad_token_id=0
    )[0][len(prompt) :].tolist()
    decoder.forget()
    logits, _ = decoder.read(prompt, lambda: False)
    steps = []
    for _ in range(20):
        steps.append(int(logits.argmax()))
        logits = decoder.step(steps[-1])
    assert steps == whole
    assert len(set(steps)) > 3, "it says one thing whatever it reads"
    said, told = ask(model)
    text = tokenizer.decode(whole, skip_special_tokens=True)
    assert said == text.lstrip().removesuffix("\ufffd")[: len(said)]
    assert told.input_tokens == len(prompt)


def test_what_was_read_is_not_read_again_and_changes_nothing(llama: LocalModel) -> None:
    _, decoder, _ = parts(llama)
    decoder.forget()
    first, told = ask(llama)
    assert told.cached_tokens == 0
    again, told = ask(llama)
    assert (again, told.cached_tokens) == (first, told.input_tokens - 1)
    longer = [*HELLO, Line("assistant", first), Line("user", "And now?")]
    said, told = ask(llama, longer)
    assert told.cached_tokens >= 20, "the conversation so far"
    decoder.forget()
    fresh, told = ask(llama, longer)
    assert (fresh, told.cached_tokens) == (said, 0)
    other, told = ask(llama, [HELLO[0], Line("user", "Something else.")])
    assert told.cached_tokens >= 5, "the instructions"
    decoder.forget()
    assert ask(llama, [HELLO[0], Line("user", "Something else.")])[0] == other


def test_a_long_prompt_is_read_in_chunks_and_given_up_between_them(llama: LocalModel) -> None:
    _, decoder, _ = parts(llama)
    decoder.forget()
    asked = itertools.count()
    lines = [Line("user", "How are you today? " * 30)]
    said: list[str] = []
    told = llama.answer(lines, 5, said.append, lambda: next(asked) == 1)
    assert (told.output_tokens, said) == (0, [])
    assert 0 < len(decoder._read) < told.input_tokens
    _, told = ask(llama, lines)
    assert told.cached_tokens > 0, "what was read before it was given up"


def test_an_answer_is_given_up_between_two_words(llama: LocalModel) -> None:
    said: list[str] = []
    llama.answer(HELLO, 100, said.append, lambda: len(said) >= 3)
    assert len(said) <= 4


# --- how a conversation is put ---
def test_a_template_is_the_models_own(llama: LocalModel) -> None:
    form, _, tokenizer = parts(llama)
    assert tokenizer.decode(form.encode(HELLO)) == (
        "<|system|>\nBe brief.</s>\n<|user|>\nHello, how are you?</s>\n<|assistant|>\n"
    )


def test_a_template_that_refuses_instructions_gets_them_with_the_first_words(
    folder: Path,
) -> None:
    path = tiny_llm.make_llama(folder / "strict", template=tiny_llm.STRICT_TEMPLATE)
    model = loaded(path)
    form, _, tokenizer = parts(model)
    twice = [*HELLO, Line("user", "Are you there?")]
    assert tokenizer.decode(form.encode(twice)) == (
        "[user]Be brief.\n\nHello, how are you?\n\nAre you there?</s>"
    )
    broken = tiny_llm.make_llama(folder / "broken", template="{{ raise_exception('never') }}")
    with pytest.raises(EngineUnavailable, match="never") as caught:
        ask(loaded(broken))
    assert caught.value.code == "llm_template_broken"


def test_a_model_without_a_template_continues_a_transcript(gpt2: LocalModel) -> None:
    form, _, tokenizer = parts(gpt2)
    assert tokenizer.decode(form.encode(HELLO)) == (
        "Be brief.\n\nUser: Hello, how are you?\nAssistant:"
    )
    assert "\n" in form.stops
    said, _ = ask(gpt2)
    assert "\n" not in said


def test_dialogpt_gets_turns_that_end_with_the_end_of_text(folder: Path) -> None:
    model = loaded(tiny_llm.make_gpt2(folder / "dialogue", is_dialogue=True))
    form, _, tokenizer = parts(model)
    talk = [*HELLO, Line("assistant", "Fine."), Line("user", "Good.")]
    end = "<|endoftext|>"
    assert tokenizer.decode(form.encode(talk)) == (f"Hello, how are you?{end}Fine.{end}Good.{end}")
    assert ask(model, talk)[1].output_tokens == 20


def test_the_form_may_be_chosen(folder: Path, gpt2: LocalModel) -> None:
    assert (
        type(loaded(folder / "llama", f"{GREEDY}&form=transcript")._form).__name__ == "Transcript"
    )
    with pytest.raises(EngineUnavailable, match="no chat template"):
        loaded(folder / "gpt2", f"{GREEDY}&form=template")


# --- where it ends ---
def test_an_answer_ends_with_any_of_the_models_ends(folder: Path) -> None:
    path = tiny_llm.make_llama(folder / "ends")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": list(range(60))}))
    told = ask(loaded(path, "@cpu:1/fp32?temperature=1"), limit=120)[1]
    assert told.output_tokens < 120
    assert not told.is_cut


def test_an_answer_that_reaches_its_limit_is_cut(llama: LocalModel) -> None:
    assert ask(llama, limit=7)[1].output_tokens == 7
    assert ask(llama, limit=7)[1].is_cut
    assert ask(llama, limit=100_000)[1].output_tokens == llama.window // 2


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_no_conversation_is_too_long(name: str, request: pytest.FixtureRequest) -> None:
    model: LocalModel = request.getfixturevalue(name)
    talk = [HELLO[0]]
    for n in range(20):
        talk += [
            Line("user", f"Question {n}? " * (n % 7 * 3)),
            Line("assistant", f"Answer {n}. " * 3),
        ]
        _, told = ask(model, [*talk, Line("user", "And?")], 16)
        assert told.input_tokens + 16 <= model.window
        assert told.output_tokens <= 16
    ask(model, [Line("user", "x" * 20_000)])


def test_the_window_may_be_smaller_than_the_models_own(folder: Path, llama: LocalModel) -> None:
    model = loaded(folder / "llama", f"{GREEDY}&context=64")
    assert (model.window, llama.window) == (64, 256)
    told = ask(model, [Line("user", "Hello, how are you? " * 50)], 16)[1]
    assert 32 <= told.input_tokens <= 48


# --- what can go wrong ---
def test_memory_that_runs_out_costs_one_answer(
    llama: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, decoder, _ = parts(llama)
    before, _ = ask(llama)
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "step", lambda token: torch.empty(2**48))
        with pytest.raises(EngineOutOfMemory, match="was answering, and memory ran out"):
            ask(llama)
    assert decoder._read == []
    assert ask(llama)[0] == before


def test_a_model_that_was_not_loaded_says_so() -> None:
    with pytest.raises(OurError):
        LocalModel("/nowhere").answer(HELLO, 1, print, lambda: False)


def test_a_model_without_a_tokenizer_is_refused(llama: LocalModel, folder: Path) -> None:
    path = Path(shutil.copytree(folder / "llama", folder / "bare"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()
    with pytest.raises(EngineUnavailable) as caught:
        loaded(path)
    assert caught.value.code == "llm_tokenizer_missing"


def test_code_that_comes_with_a_model_is_not_run(llama: LocalModel, folder: Path) -> None:
    path = Path(shutil.copytree(folder / "llama", folder / "foreign"))
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "own.Config"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(EngineUnavailable):
        loaded(path)


class Forgetful(Decoder):
    """Cuts its cache, and loses what is left."""

    def _crop(self, kept: int) -> int:
        self._cache = None
        return kept


def test_a_cache_that_cannot_be_trusted_is_found_at_load(gpt2: LocalModel, folder: Path) -> None:
    _, decoder, _ = parts(gpt2)
    check_cache(decoder, range(30), folder)
    bad = Forgetful(torch, transformers, decoder._model)
    with pytest.raises(EngineUnavailable) as caught:
        check_cache(bad, range(30), folder)
    assert caught.value.code == "llm_cache_unsupported"


# --- fast, and how it is found ---
def test_the_fastest_way_is_found_once(
    folder: Path, llama: LocalModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "duologue.engines")
    loaded(folder / "llama", "@cpu:1")
    (told,) = (line for line in caplog.messages if " wins (" in line)
    tried = ("fp32 sdpa: ", "int8 sdpa: ", "bf16 sdpa: ", "fp32 eager: ")
    assert [name for name in tried if name in told] == list(tried)
    assert "as timed before" not in caplog.text
    assert "what would help" in caplog.text
    loaded(folder / "llama", "@cpu:1")
    assert "as timed before" in caplog.text
    caplog.clear()
    model = loaded(folder / "llama", "@cpu:1?contest=off&attention=eager")
    assert " wins " not in caplog.text
    assert parts(model)[1]._model.config._attn_implementation == "eager"


def test_int8_says_nearly_the_same(folder: Path, llama: LocalModel) -> None:
    _, decoder, _ = parts(llama)
    _, small, _ = parts(loaded(folder / "llama", "@cpu:1/int8"))
    a, b = decoder.whole(range(40)), small.whole(range(40))
    assert float((a.argmax(-1) == b.argmax(-1)).float().mean()) > 0.8


def test_it_is_warm_after_a_few_answers(llama: LocalModel) -> None:
    llama.warm_up()
    took = llama.first_ms
    assert 3 <= len(took) <= WARM_UPS
    assert len(took) == WARM_UPS or took[-1] <= STEADY * min(took)


# --- its parts ---
def test_letters_of_several_tokens_are_whole(llama: LocalModel) -> None:
    _, _, tokenizer = parts(llama)
    text = "naïve 🙂 你好, done"
    letters = Detokenizer(tokenizer)
    pieces = [letters.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def drawn(
    options: str, logits: list[float], before: Sequence[int] = (0,), n: int = 200
) -> set[int]:
    defaults = transformers.GenerationConfig(temperature=1.0, top_p=1.0)
    sampler = Sampler(torch, transformers, Wanted.parse(f"m?{options}"), defaults)
    return {sampler.pick(torch.tensor([logits]), before) for _ in range(n)}


def test_words_are_drawn_as_was_asked_for() -> None:
    flat = [1.0, 1.1, 1.2, 1.3]
    assert drawn("temperature=0", flat) == {3}
    assert drawn("temperature=1", flat) == {0, 1, 2, 3}
    assert drawn("temperature=1&top_k=2", flat) == {2, 3}
    assert drawn("temperature=1&top_p=0.3", flat) == {3, 2}
    assert drawn("temperature=0.01", flat) == {3}
    assert drawn("temperature=0&repetition_penalty=1.2", flat, before=[3]) == {2}
