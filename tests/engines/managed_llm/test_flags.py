"""Command lines and variables: what the planner writes is what the server is given."""

from pathlib import Path
from typing import Any

import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.engines.managed_llm import flags
from duologue.engines.managed_llm.flags import Facts
from duologue.engines.models.store import in_folder
from duologue.memory.goals import Goal
from duologue.memory.machine import Machine
from duologue.memory.plan import Choice, plan

FACTS = Facts("/bin/it", "/models/tiny", "tiny", 8123)
LONG = {"-c": "--ctx-size", "-ngl": "--n-gpu-layers", "-np": "--parallel", "-ub": "--ubatch-size"}


def vllm(argument: str, **facts: Any) -> list[str]:
    return flags.vllm_command(Placement.parse(argument), Facts(**{**_fields(), **facts}))


def llama(argument: str) -> list[str]:
    return flags.llama_command(Placement.parse(argument), FACTS)


def _fields() -> dict[str, Any]:
    return {name: getattr(FACTS, name) for name in FACTS.__slots__}


def planned(cards: str, engine: str) -> Choice:
    choice = plan(Machine.parse(cards), Goal(sessions=2)).of(Role.LLM)
    assert choice.engine == engine
    return choice


def test_vllm_is_started_with_what_the_planner_wrote() -> None:
    choice = planned("12", "vllm")
    command = vllm(choice.argument)
    assert command[: -len(choice.flags)] == [
        *("/bin/it", "serve", "/models/tiny", "--host", "127.0.0.1", "--port", "8123"),
        *("--served-model-name", "tiny"),
    ]
    assert tuple(command[-len(choice.flags) :]) == choice.flags
    assert {"--kv-cache-memory-bytes", "--gpu-memory-utilization"} <= set(command)
    assert not {"--quantization", "--cpu-offload-gb", "--enforce-eager"} & set(command)


def test_llama_server_is_started_with_what_the_planner_wrote() -> None:
    choice = planned("4", "llama-server")
    command = llama(choice.argument)
    assert command[-len(choice.flags) :] == [LONG.get(word, word) for word in choice.flags]
    assert "--jinja" in command


def test_of_several_gpus_the_planned_one_is_seen() -> None:
    choice = plan(Machine.parse("3x8"), Goal()).of(Role.LLM)
    placement = Placement.parse(choice.argument)
    assert placement.number == 2
    assert flags.gpu_variables(placement, None) == {"CUDA_VISIBLE_DEVICES": "2"}
    assert flags.gpu_variables(placement, "3,GPU-77ab,5") == {"CUDA_VISIBLE_DEVICES": "5"}
    with pytest.raises(SetupError, match="GPU 2, and CUDA_VISIBLE_DEVICES shows 2"):
        flags.gpu_variables(placement, "0,1")


def test_a_switch_is_a_flag_without_a_value() -> None:
    assert vllm("m?enforce_eager=1")[-1] == "--enforce-eager"
    assert vllm("m?enforce_eager=true")[-1] == "--enforce-eager"
    assert vllm("m?enable_prefix_caching=false")[-1] == "--no-enable-prefix-caching"
    assert vllm("m?max_num_seqs=1")[-2:] == ["--max-num-seqs", "1"]
    assert llama("m?ctx=512&np=1&ngl=7")[-6:] == [
        *("--ctx-size", "512", "--parallel", "1", "--n-gpu-layers", "7")
    ]


def test_a_precision_is_vllms_dtype_unless_one_is_written() -> None:
    assert vllm("m@cuda:0/bf16")[-2:] == ["--dtype", "bfloat16"]
    assert "--dtype" not in vllm("m@cuda:0/awq")
    assert vllm("m@cuda:0/fp16?dtype=bfloat16").count("--dtype") == 1


def test_a_flag_that_was_not_known_is_left_out() -> None:
    command = vllm(
        "m?kv_cache_memory_bytes=9&max_num_seqs=2", unknown=frozenset({"kv-cache-memory-bytes"})
    )
    assert command[-2:] == ["--max-num-seqs", "2"]
    assert "--kv-cache-memory-bytes" not in command


def test_on_a_cpu_no_gpu_is_seen_and_threads_are_limited() -> None:
    placement = Placement.parse("m@cpu:3")
    command = flags.llama_command(placement, FACTS)
    assert command[command.index("--threads") + 1] == "3"
    assert command[command.index("--n-gpu-layers") + 1] == "0"
    assert flags.llama_variables(placement, FACTS) == {"CUDA_VISIBLE_DEVICES": "-1"}


def test_options_of_ollama_are_variables() -> None:
    placement = Placement.parse("llama3.2:3b@cuda:1?context_length=4096&keep_alive=10m")
    assert flags.ollama_command(placement, FACTS) == ["/bin/it", "serve"]
    assert flags.ollama_variables(placement, FACTS) == {
        "OLLAMA_HOST": "127.0.0.1:8123",
        "OLLAMA_KEEP_ALIVE": "10m",
        "OLLAMA_CONTEXT_LENGTH": "4096",
        "CUDA_VISIBLE_DEVICES": "1",
    }


def test_segments_may_grow_under_vllm_unless_it_is_to_sleep() -> None:
    grown = flags.vllm_variables(Placement.parse("m@cuda:0"), FACTS)
    assert grown["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    asleep = flags.vllm_variables(Placement.parse("m?enable_sleep_mode=true"), FACTS)
    assert "PYTORCH_ALLOC_CONF" not in asleep


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", "llm_model_unnamed"),
        ("m?host=0.0.0.0", "llm_option_refused"),
        ("m?quantization=awq", "llm_option_refused"),
        ("m?cpu_offload_gb=4", "llm_option_refused"),
        ("m?port=99999", "llm_option_refused"),
        ("m?port=-1", "llm_option_refused"),
        ("m?patience_s=soon", "llm_option_refused"),
        ("m@cpu", "llm_device_unfit"),
        ("m@mps", "llm_device_unfit"),
    ],
)
def test_what_cannot_be_meant_is_refused(argument: str, code: str) -> None:
    with pytest.raises(SetupError) as told:
        flags.check_vllm(Placement.parse(argument))
    assert told.value.code == code


def test_other_quantisation_is_vllms_own_affair() -> None:
    flags.check_vllm(Placement.parse("m?quantization=bitsandbytes&port=8001&patience_s=60.5"))


def test_a_bare_name_is_looked_for_in_the_models_folder() -> None:
    folder = Path("/models")
    assert in_folder("tiny@cuda:1?a=b", folder) == "/models/tiny@cuda:1?a=b"
    assert in_folder("org/tiny", folder) == "org/tiny"
    assert in_folder("", folder) == ""


def test_a_model_is_asked_for_by_its_last_name_and_a_hubs_by_its_whole() -> None:
    assert flags.served_name("/models/tiny") == "tiny"
    assert flags.served_name("models/small.gguf") == "small"
    assert flags.served_name("org/tiny") == "org/tiny"
