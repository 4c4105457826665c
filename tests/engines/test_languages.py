"""What a client is told that wants a language which no engine has: what would add it, and that this is true."""

import shlex

import pytest

from duologue.cli import serve
from duologue.core.capabilities import Capabilities, Role
from duologue.core.languages import knows
from duologue.engines import registry
from duologue.engines.languages import LISTED, WHISPER, lacking
from duologue.engines.pocketsphinx.engine import SPEC as POCKETSPHINX
from duologue.engines.skills.responder import SPEC as SKILLS
from duologue.engines.voices.espeak import SPEC as ESPEAK
from duologue.engines.voices.flite import SPEC as FLITE


def told(role: Role, language: str, *chain: Capabilities) -> str:
    error = lacking(role, language, chain)
    assert error is not None
    assert (error.code, error.param) == ("language_not_available", "language")
    return str(error)


def test_the_embedded_recogniser_lacks_chinese_which_whisper_knows() -> None:
    message = told(Role.STT, "zh-CN", POCKETSPHINX.capabilities)
    assert message.startswith(
        "Nothing on this server understands the language 'zh-CN'; it has: en."
    )
    assert "pip install 'duologue[whisper]'" in message
    assert "duologue serve --stt whisper:base,embedded" in message


@pytest.mark.parametrize("language", ["en", "en-US", "EN", ""])
def test_stock_clients_that_say_english_hear_nothing_of_it(language: str) -> None:
    assert lacking(Role.STT, language, [POCKETSPHINX.capabilities]) is None


def test_whoever_takes_any_language_lacks_none() -> None:
    chain = [POCKETSPHINX.capabilities, Capabilities()]
    assert lacking(Role.STT, "tlh", chain) is None
    assert lacking(Role.STT, "zh", []) is None


def test_the_embedded_voices_speak_chinese_unless_they_are_left_out() -> None:
    assert lacking(Role.TTS, "zh", [FLITE.capabilities, ESPEAK.capabilities]) is None
    assert "--tts ENGINE,espeak" in told(Role.TTS, "zh", FLITE.capabilities)


def test_what_nobody_of_ours_knows_may_be_had_elsewhere() -> None:
    assert "--stt 'openai-stt:" in told(Role.STT, "tlh", POCKETSPHINX.capabilities)
    assert "--tts 'openai-tts:" in told(Role.TTS, "tlh", ESPEAK.capabilities)
    assert "--llm-url" in told(Role.LLM, "zh", SKILLS.capabilities)


def test_a_long_list_is_cut_and_so_is_a_long_tag() -> None:
    message = told(Role.TTS, "x" * 900, ESPEAK.capabilities)
    assert f"and {len(ESPEAK.capabilities.languages) - LISTED} more" in message
    assert len(message) < 300


@pytest.mark.parametrize(("role", "language"), [(Role.STT, "zh"), (Role.TTS, "zh")])
def test_the_engines_that_are_recommended_exist(role: Role, language: str) -> None:
    """The remedy's command is one that `serve` takes, and names engines that know the language, or may."""
    remedy = told(role, language, Capabilities(languages=("en",)))
    command = remedy.rpartition("`duologue ")[2].partition("`")[0]
    asked = shlex.split(command)[2].replace("ENGINE", "espeak")
    found = [registry.find(name, role)[0] for name in asked.split(",") if name != "embedded"]
    assert all(knows(spec.capabilities, language) for spec in found)
    assert serve.__name__.endswith(shlex.split(command)[0])


def test_whispers_languages_are_its_own() -> None:
    assert len(WHISPER) == len(set(WHISPER)) == 99
