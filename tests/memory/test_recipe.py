"""A plan as files."""

import json
import tomllib

import pytest

from duologue.core.errors import SetupError
from duologue.memory import recipe
from duologue.memory.goals import Goal
from duologue.memory.machine import Machine
from duologue.memory.plan import plan

MADE = plan(Machine.parse("8"))
APART = plan(Machine.parse("3x8"), Goal(is_apart=True))
VALUES = MADE.settings()


def test_a_new_settings_file_says_what_was_planned() -> None:
    assert tomllib.loads(recipe.settings(VALUES)) == VALUES


def test_an_old_one_keeps_all_else() -> None:
    old = '# mine\nport = 9000\nstt = "pocketsphinx" # slow\n\ngreeting = "Hello"\n'
    new = recipe.settings(VALUES, old)
    assert tomllib.loads(new) == {"port": 9000, "greeting": "Hello", **VALUES}
    assert "# mine\nport = 9000\n" in new
    assert recipe.settings(VALUES, new) == new
    assert recipe.changes(VALUES, new) == []
    assert recipe.changes(VALUES, old)[0] == ("stt", "pocketsphinx", VALUES["stt"])
    assert recipe.changes(VALUES, old)[1][1] == ""


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ("stt = 'pocketsphinx'\n", "settings_not_merged"),
        ('stt = """\npocketsphinx"""\n', "settings_not_merged"),
        ('text = """\nstt = "pocketsphinx"\n"""\n', "settings_not_merged"),
        ("stt =\n", "settings_file_invalid"),
    ],
)
def test_a_form_that_cannot_be_replaced_is_left_alone(old: str, code: str) -> None:
    with pytest.raises(SetupError) as error:
        recipe.settings(VALUES, old)
    assert error.value.code == code


def test_lines_of_tables_are_not_taken_for_settings() -> None:
    """New lines go before all else: what stands behind a table's head would belong to the table."""
    new = recipe.settings(VALUES, 'port = 1\n[other]\nx = "y"\n')
    assert tomllib.loads(new) == {**VALUES, "port": 1, "other": {"x": "y"}}


def test_each_service_has_its_card_and_calls_it_number_0() -> None:
    told = json.loads(recipe.devices(APART))
    assert [told[name]["device_ids"] for name in ("stt", "tts", "llm")] == [["0"], ["1"], ["2"]]
    assert told["tts"]["engine"] == "csm:csm-1b@cuda:0/bf16"
    assert told["tts"]["command"][:4] == ["engine-server", "--role", "tts", "--engine"]
    assert told["llm"]["command"][0] == "-m"
    for name, choice in zip(("stt", "tts", "llm"), APART.choices, strict=True):
        assert told[name]["gpu_memory_mib"] == choice.gpu_mib > 0
        assert told[name]["memory_mib"] > choice.ram_mib


def test_compose_gives_each_service_its_card() -> None:
    text = recipe.compose(APART)
    assert text.count("capabilities: [gpu]") == 3
    assert 'device_ids: ["1"]' in text
    assert "  tts:\n    command: [" in text
    on_cpu = plan(Machine.parse("0"), Goal(is_apart=True))
    assert "device_ids" not in recipe.compose(on_cpu)
    vllm = json.loads(recipe.devices(plan(Machine.parse("8"), Goal(is_apart=True))))
    assert vllm["llm"]["command"][0] == "/models/llama-3.2-3b-instruct-awq"


def test_what_the_server_does_itself_is_no_service() -> None:
    embedded = plan(Machine.parse("0"), Goal(profile="embedded", is_apart=True))
    assert list(json.loads(recipe.devices(embedded))) == ["stt", "tts"]
