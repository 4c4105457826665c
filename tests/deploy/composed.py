"""Compose files as Compose itself puts them together: variables, `extends`, and one file over another.

What it does was compared with Docker Compose 2.26.1 (`docker compose config`), whose rules of merging these are: the
later one wins in mappings, lists are joined, but for `command`, `entrypoint`, a health check's `test` and whatever is
marked `!override`; `environment` is by name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent

REPLACED = ("command", "entrypoint", "test")

_NAME = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(:?[-+?])?)")


class Missing(Exception):
    """A variable that must be set is not."""


@dataclass
class Override:
    """A value that is not merged."""

    value: Any


class _Loader(yaml.SafeLoader):
    pass


def _override(loader: _Loader, node: yaml.Node) -> Override:
    assert isinstance(node, yaml.SequenceNode)
    return Override(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("!override", _override)


def variables(text: str) -> set[str]:
    """The names of the variables in it."""
    return {found[2] or found[3] for found in _NAME.finditer(text) if not found[1]}


def filled(text: str, env: Mapping[str, str]) -> str:
    """Variables replaced by their values.

    Raises:
        Missing: one that must be set is not.
    """
    out, at = "", 0
    while (found := _NAME.search(text, at)) is not None:
        out += text[at : found.start()]
        escaped, plain, braced, operator = found.groups()
        at = found.end()
        if escaped:
            out += "$"
        elif plain:
            out += env.get(plain, "")
        else:
            end = _closing(text, at)
            out += _value(braced, operator or "", text[at:end], env)
            at = end + 1
    return out + text[at:]


def _closing(text: str, at: int) -> int:
    depth = 1
    for place in range(at, len(text)):
        depth += text.startswith("${", place) - (text[place] == "}")
        if not depth:
            return place
    raise ValueError(f"no end of a variable: {text}")


def _value(name: str, operator: str, word: str, env: Mapping[str, str]) -> str:
    value = env.get(name, "")
    is_there = bool(value) if operator.startswith(":") or not operator else name in env
    match operator[-1:]:
        case "-":
            return value if is_there else filled(word, env)
        case "+":
            return filled(word, env) if is_there else ""
        case "?" if not is_there:
            raise Missing(f"{name}: {word}")
        case _:
            return value


def read(file: Path) -> dict[str, Any]:
    """A file as it is written."""
    text = file.read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, _Loader)
    return loaded


def stack(files: Sequence[Path], env: Mapping[str, str]) -> dict[str, Any]:
    """These files, each over the one before it, with variables filled in.

    Of an environment, None is a variable that would be passed on and is not set.
    """
    merged: Any = {}
    for file in files:
        merged = _merged(merged, _opened(file, env), "")
    for service in merged.get("services", {}).values():
        for name, value in service.get("environment", {}).items():
            service["environment"][name] = env.get(name) if value is None else value
    return {key: value for key, value in merged.items() if not key.startswith("x-")}


def _opened(file: Path, env: Mapping[str, str]) -> Any:
    document = _normal(_filled(read(file), env))
    for name, service in document.get("services", {}).items():
        if origin := service.pop("extends", None):
            base = _opened(file.parent / origin["file"], env)["services"][origin["service"]]
            document["services"][name] = _merged(base, service, "")
    return document


def _filled(node: Any, env: Mapping[str, str]) -> Any:
    match node:
        case str():
            return filled(node, env)
        case Override():
            return Override(_filled(node.value, env))
        case dict():
            return {key: _filled(value, env) for key, value in node.items()}
        case list():
            return [_filled(value, env) for value in node]
        case _:
            return node


def _normal(document: Any) -> Any:
    """With environments as mappings; None is a variable to be passed on."""
    for service in document.get("services", {}).values():
        given = service.get("environment")
        if isinstance(given, list):
            pairs = (line.partition("=") for line in given)
            service["environment"] = {
                name: value if equals else None for name, equals, value in pairs
            }
    return document


def _merged(under: Any, over: Any, key: str) -> Any:
    if isinstance(over, Override):
        return over.value
    if isinstance(under, dict) and isinstance(over, dict):
        both = {name: _merged(under.get(name), value, name) for name, value in over.items()}
        return {**under, **both}
    if isinstance(under, list) and isinstance(over, list) and key not in REPLACED:
        return [*under, *over]
    return over
