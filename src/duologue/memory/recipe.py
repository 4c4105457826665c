"""A plan in the words of files: settings, Docker Compose, and which service has which card.

In a container that is given one card, that card is number 0, whatever it is outside.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory.plan import Choice, Plan

SETTINGS_FILE = "duologue.toml"
COMPOSE_FILE = "docker-compose.override.yml"
DEVICES_FILE = "devices.json"

RAM_MARGIN = 1.25
"""A container's limit above its planned memory: a limit that is met kills."""

HEAD = "# Written by `duologue plan --write`."

_STRING = re.compile(r'^(?P<key>[A-Za-z_]+)[ \t]*=[ \t]*"(?P<value>[^"\\\n]*)"[ \t]*(#.*)?$', re.M)


def settings(values: Mapping[str, str], old: str = "") -> str:
    """A settings file with these values; whatever else the old one says stays as it is.

    Raises:
        SetupError: the old file is no TOML, or has one of the values in another form than on a line of its own.
    """
    before = _parsed(old) if old else {}
    text = old or f"{HEAD}\n"
    lines = {key: f'{key} = "{value}"' for key, value in values.items()}
    text = _STRING.sub(lambda found: lines.pop(found["key"], found[0]), text)
    text = (
        "".join(f"{line}\n" for line in lines.values()) + text
        if old
        else text + "\n".join(lines.values()) + "\n"
    )
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    if after != {**before, **values}:
        raise SetupError(
            "settings_not_merged",
            f"{SETTINGS_FILE} holds {', '.join(values)} in a form that cannot be replaced line by line.",
            remedy="Change these by hand to what `duologue plan --json` says, or move the file away.",
        )
    return text


def changes(values: Mapping[str, str], old: str) -> list[tuple[str, str, str]]:
    """What would change in a settings file: name, old value (empty for none), new value.

    Raises:
        SetupError: the old file is no TOML.
    """
    before = _parsed(old)
    return [
        (key, str(before.get(key, "")), value)
        for key, value in values.items()
        if before.get(key) != value
    ]


def _parsed(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(
            "settings_file_invalid",
            f"{SETTINGS_FILE} is no TOML: {error}.",
            remedy="Mend it, or move it away.",
        ) from error


def in_container(choice: Choice) -> str:
    """The engine's name as it is called where its card is the only one."""
    if not choice.argument or choice.device == "cpu":
        return choice.name
    placed = replace(Placement.parse(choice.argument), number=0)
    return f"{choice.engine}:{placed}"


def command(choice: Choice) -> tuple[str, ...]:
    """Words that start the service in its container; empty where the server itself does the work."""
    if choice.engine == "vllm":
        return ("--model", f"/models/{choice.model}", *choice.flags)
    if choice.engine == "llama-server":
        return ("-m", f"/models/{choice.model}.gguf", *choice.flags)
    if choice.role is Role.LLM:
        return ()
    return ("engine-server", "--role", str(choice.role), "--engine", in_container(choice))


def services(plan: Plan) -> Iterator[tuple[str, Choice]]:
    """The services of a plan whose engines are apart, by their names."""
    for choice in plan.choices:
        if command(choice):
            yield str(choice.role), choice


def devices(plan: Plan) -> str:
    """JSON: for each service its cards, its memory on them and beside them (MiB), its engine and its command."""
    told = {
        name: {
            "device_ids": _cards(choice),
            "gpu_memory_mib": choice.gpu_mib,
            "memory_mib": memory_limit_mib(choice),
            "engine": in_container(choice),
            "command": list(command(choice)),
        }
        for name, choice in services(plan)
    }
    return json.dumps(told, indent=2) + "\n"


def memory_limit_mib(choice: Choice) -> int:
    """The limit of its container: what is planned and a margin."""
    return round(choice.ram_mib * RAM_MARGIN) + 256


def compose(plan: Plan) -> str:
    """An override for Compose: each service's command, memory and card. The rest is in the base file."""
    lines = [HEAD, "services:"]
    for name, choice in services(plan):
        lines += [
            f"  {name}:",
            f"    command: {json.dumps(command(choice))}",
            f"    mem_limit: {memory_limit_mib(choice)}m",
        ]
        if cards := _cards(choice):
            lines += [
                "    deploy:",
                "      resources:",
                "        reservations:",
                "          devices:",
                "            - driver: nvidia",
                f"              device_ids: {json.dumps(cards)}",
                "              capabilities: [gpu]",
            ]
    return "\n".join(lines) + "\n"


def _cards(choice: Choice) -> list[str]:
    device, _, number = choice.device.partition(":")
    return [number] if device == "cuda" else []
