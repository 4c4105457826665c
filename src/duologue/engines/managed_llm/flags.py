"""What stands behind "vllm:", "llama-server:" and "ollama:", as command lines and variables. Pure.

    vllm:MODEL[@cuda:I][/PRECISION][?max_model_len=4096&kv_cache_memory_bytes=…&enforce_eager=true]
    llama-server:MODEL[@cuda:I|@cpu:N][?ctx_size=4096&parallel=4&n_gpu_layers=99]
    ollama:MODEL[@cuda:I|@cpu][?context_length=4096&num_parallel=4]

Options are the server's own long flags with underscores: `key=value` is `--key value`, `key=true` is `--key`, and
`key=false` is `--no-key`. Ollama takes variables: `key=value` is `OLLAMA_KEY=value`. `memory.llm_flags` writes them.
Names were looked up in vLLM 0.33.0 (engine/arg_utils.py, entrypoints/common/cli_args.py), llama.cpp's
tools/server/README.md and Ollama's envconfig/config.go.
"""

from dataclasses import dataclass
from pathlib import PurePath

from duologue.core.errors import SetupError
from duologue.core.placement import Placement

OWN = ("port", "patience_s")
"""Options that are no flags: the server's port, which is any that is free otherwise; how long its start may take."""

TAKEN = ("host", "model", "served_model_name", "alias", "api_key", "uds")
"""Flags that are set here, or would put the server where it is not looked for, or open it to others."""

OFFLOAD = ("cpu_offload_gb", "swap_space")
QUANTISED = ("awq", "gptq")

SWITCHES = ("enforce_eager", "enable_auto_tool_choice", "trust_remote_code", "no_mmap", "mlock")
"""Flags without a value, of which 1 and 0 are taken for true and false."""

_SHORT = {"ctx": "ctx_size", "ngl": "n_gpu_layers", "np": "parallel", "ub": "ubatch_size"}
"""llama.cpp's short names."""

DTYPES = {"fp16": "half", "bf16": "bfloat16", "fp32": "float"}
"""Precisions as vLLM calls them; of others ("awq") the checkpoint itself tells."""

ONLY_IF_KNOWN = ("kv_cache_memory_bytes",)
"""vLLM's flags without which it does too, from its share of the card: old versions do not know them."""

NO_GPU = "-1"
"""A GPU that there is none of: CUDA shows none from the first such index on."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when the server is started.

    Attributes:
        binary: the program's path.
        model: as the server is given it: a path, or a name of its own.
        served: the name by which it is asked for.
        visible_gpus: this process's CUDA_VISIBLE_DEVICES; None for all.
        unknown: flags that this version has refused.
    """

    binary: str
    model: str
    served: str
    port: int
    visible_gpus: str | None = None
    unknown: frozenset[str] = frozenset()


def vllm_command(placement: Placement, facts: Facts) -> list[str]:
    """`vllm serve …`. Never with `--quantization`, which it finds out better itself; see `check_vllm`."""
    command = [facts.binary, "serve", facts.model, "--host", "127.0.0.1", "--port", str(facts.port)]
    command += ["--served-model-name", facts.served]
    if placement.precision in DTYPES and not placement.option("dtype"):
        command += ["--dtype", DTYPES[placement.precision]]
    return command + _flags(placement, facts)


def llama_command(placement: Placement, facts: Facts) -> list[str]:
    """`llama-server …`. On a CPU no layer goes to a card; on a card as many as are asked for, or fit."""
    command = [facts.binary, "--model", facts.model, "--alias", facts.served]
    command += ["--host", "127.0.0.1", "--port", str(facts.port)]
    given = {_SHORT.get(key, key) for key, _ in placement.options}
    if placement.device == "cpu" and "n_gpu_layers" not in given:
        command += ["--n-gpu-layers", "0"]
    if placement.device == "cpu" and placement.number is not None and "threads" not in given:
        command += ["--threads", str(placement.number)]
    if "jinja" not in given:
        command.append("--jinja")  # functions are called only through the model's own template
    return command + _flags(placement, facts)


def ollama_command(placement: Placement, facts: Facts) -> list[str]:
    """`ollama serve`: which model, and how, is said otherwise."""
    return [facts.binary, "serve"]


def vllm_variables(placement: Placement, facts: Facts) -> dict[str, str]:
    """Its environment, beside what it inherits: segments that grow leave less memory in pieces."""
    found = gpu_variables(placement, facts.visible_gpus)
    found["VLLM_NO_USAGE_STATS"] = "1"
    if placement.option("enable_sleep_mode") != "true":  # whose allocator is another
        found["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    return found


def llama_variables(placement: Placement, facts: Facts) -> dict[str, str]:
    """Its environment, beside what it inherits."""
    return gpu_variables(placement, facts.visible_gpus)


def ollama_variables(placement: Placement, facts: Facts) -> dict[str, str]:
    """Its environment, beside what it inherits. The model stays loaded: after 5 minutes it would be dropped."""
    found = {"OLLAMA_HOST": f"127.0.0.1:{facts.port}", "OLLAMA_KEEP_ALIVE": "-1"}
    found |= {f"OLLAMA_{key.upper()}": value for key, value in _others(placement)}
    return found | gpu_variables(placement, facts.visible_gpus)


def gpu_variables(placement: Placement, visible_gpus: str | None) -> dict[str, str]:
    """Which GPU the server may see: the I-th of those that we see.

    Raises:
        SetupError: there is no such one.
    """
    if placement.device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": NO_GPU}  # even without a layer on it, a card would be used
    if placement.device != "cuda" or placement.number is None:
        return {}
    if visible_gpus is None:
        return {"CUDA_VISIBLE_DEVICES": str(placement.number)}
    seen = [name.strip() for name in visible_gpus.split(",") if name.strip()]
    if placement.number >= len(seen):
        raise SetupError(
            "llm_gpu_unknown",
            f"'{placement}' asks for GPU {placement.number}, and CUDA_VISIBLE_DEVICES shows {len(seen)}.",
            remedy="GPUs are counted from 0, among those that are visible.",
        )
    return {"CUDA_VISIBLE_DEVICES": seen[placement.number]}


def check(placement: Placement) -> None:
    """See that what is asked for can be a server's.

    Raises:
        SetupError: it names no model, or sets what is not to be set.
    """
    if not placement.model:
        raise SetupError(
            "llm_model_unnamed",
            "A language model's server was asked for without a model.",
            remedy="Write vllm:MODEL, llama-server:MODEL.gguf or ollama:MODEL.",
        )
    for key, value in placement.options:
        if key in TAKEN:
            raise _refused(f"{key}={value}", "It is set by us.", "Leave it out.")
        is_number = value.replace(".", "", 1).isdecimal()
        if key in OWN and not (is_number and float(value) > 0):
            raise _refused(f"{key}={value}", "It is a number above 0.", "")
    port = placement.option("port")
    if port and not (port.isdecimal() and int(port) < 65_536):
        raise _refused(f"port={port}", "It is a number below 65536.", "")


def check_vllm(placement: Placement) -> None:
    """The same, and what is known to do harm there.

    Raises:
        SetupError: see above.
    """
    check(placement)
    if placement.device in ("cpu", "mps"):
        raise SetupError(
            "llm_device_unfit",
            f"vLLM is started for CUDA, and '{placement}' is on {placement.device}.",
            remedy="Use llama-server: there.",
        )
    for key, value in placement.options:
        if key in OFFLOAD:
            raise _refused(
                f"{key}={value}",
                "Weights that are fetched from the host's memory for each word make it some 19 times slower.",
                "Use a smaller model, or llama-server:.",
            )
        if key == "quantization" and value in QUANTISED:
            raise _refused(
                f"{key}={value}",
                "Said outright, it keeps vLLM from its faster kernels (23 words instead of 123).",
                "Leave it out: vLLM sees it from the checkpoint.",
            )


def _refused(option: str, why: str, remedy: str) -> SetupError:
    return SetupError(
        "llm_option_refused", f"The option {option} is not taken. {why}", remedy=remedy
    )


def served_name(model: str) -> str:
    """The name by which a model is asked for: the last part of its path; a hub's name as it is."""
    if model.startswith(("/", ".", "~")) or model.endswith(".gguf"):
        return PurePath(model).name.removesuffix(".gguf")
    return model


def _flags(placement: Placement, facts: Facts) -> list[str]:
    words: list[str] = []
    for short, value in _others(placement):
        key = _SHORT.get(short, short)
        flag = key.replace("_", "-")
        if flag in facts.unknown:
            continue
        if value == "true" or (key in SWITCHES and value == "1"):
            words.append(f"--{flag}")
        elif value == "false" or (key in SWITCHES and value == "0"):
            words.append(f"--no-{flag}")
        else:
            words += [f"--{flag}", value]
    return words


def _others(placement: Placement) -> list[tuple[str, str]]:
    return [(key, value) for key, value in placement.options if key not in OWN]
