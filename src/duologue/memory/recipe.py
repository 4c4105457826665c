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
COMPOSE_FILE = "docker-compose.plan.yml"
"""Not `docker-compose.override.yml`, which Compose would also lay over files that have no such services."""
DEVICES_FILE = "devices.json"

Files = Mapping[str, str]
"""By model, the name of its file within its folder, where that is not the model's own."""

NO_FILES: Files = {}

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


def command(choice: Choice, files: Files = NO_FILES) -> tuple[str, ...]:
    """Words that start the service in its container; empty where the server itself does the work."""
    if choice.engine == "vllm":
        return (f"/models/{choice.model}", *choice.flags)
    if choice.engine == "llama-server":
        file = files.get(choice.model, f"{choice.model}.gguf")
        return ("-m", f"/models/{choice.model}/{file}", *choice.flags)
    if choice.role is Role.LLM:
        return ()
    return ("engine-server", "--role", str(choice.role), "--engine", in_container(choice))


EXTRAS = {
    "pocket": "pocket",
    "csm": "transformers",
    "voxtral": "voxtral",
    "transformers-whisper": "transformers",
}
"""Extras of an image that are not called as their engine is; these want torch as well."""

TORCH = "2.13.0"


def _extras(choice: Choice) -> Iterator[str]:
    """What the service's image must be built with, as build arguments; nothing where it is not ours."""
    if choice.role is Role.LLM:
        return
    is_built_in = choice.engine in ("pocketsphinx", "flite", "espeak")
    yield f'EXTRAS: "{"" if is_built_in else EXTRAS.get(choice.engine, choice.engine)}"'
    yield f'TORCH: "{TORCH if choice.engine in EXTRAS else ""}"'


def services(plan: Plan) -> Iterator[tuple[str, Choice]]:
    """The services of a plan whose engines are apart, by their names."""
    for choice in plan.choices:
        if command(choice):
            yield str(choice.role), choice


def devices(plan: Plan, files: Files = NO_FILES) -> str:
    """JSON: for each service its cards, its memory on them and beside them (MiB), its engine and its command."""
    told = {
        name: {
            "device_ids": _cards(choice),
            "gpu_memory_mib": choice.gpu_mib,
            "memory_mib": memory_limit_mib(choice),
            "engine": in_container(choice),
            "command": list(command(choice, files)),
        }
        for name, choice in services(plan)
    }
    return json.dumps(told, indent=2) + "\n"


def memory_limit_mib(choice: Choice) -> int:
    """The limit of its container: what is planned, a margin, and what passes through on its way to the card."""
    return round(choice.ram_mib * RAM_MARGIN) + 256 + choice.gpu_mib


def compose(plan: Plan, files: Files = NO_FILES) -> str:
    """To be laid over the base file by Compose: each service's command, what its image holds, its memory and card."""
    lines = [HEAD, "services:"]
    for name, choice in services(plan):
        lines += [
            f"  {name}:",
            f"    command: {json.dumps(command(choice, files))}",
            f"    mem_limit: {memory_limit_mib(choice)}m",
        ]
        if choice.engine == "llama-server":
            lines.append(
                "    image: ${LLAMA_IMAGE:?an image of llama.cpp's server, see docs/docker.md}"
            )
        if extras := [*_extras(choice)]:
            lines += ["    build:", "      args:", *(f"        {extra}" for extra in extras)]
        # Compose joins lists: without the mark a service would have the base file's card as well.
        cards = _cards(choice)
        lines += [
            "    deploy:",
            "      resources:",
            "        reservations:",
            f"          devices: !override{'' if cards else ' []'}",
        ]
        if cards:
            lines += [
                "            - driver: nvidia",
                f"              device_ids: {json.dumps(cards)}",
                "              capabilities: [gpu]",
            ]
    return "\n".join(lines) + "\n"


def _cards(choice: Choice) -> list[str]:
    device, _, number = choice.device.partition(":")
    return [number] if device == "cuda" else []
