"""Finds engines by name, among ours and those that other packages bring.

A name with a dot in it is the dotted path of an `EngineSpec`: an engine that is not packaged yet.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from duologue.core.capabilities import Role
from duologue.core.errors import EngineUnavailable
from duologue.engines.base import EngineSpec

GROUP = "duologue.engines"


def find(wanted: str, role: Role) -> tuple[EngineSpec, str]:
    """The engine for "name" or "name:argument".

    Raises:
        EngineUnavailable: there is none of that name for this role, or its module cannot be imported.
    """
    name, _, argument = wanted.partition(":")
    try:
        spec = _load(name)
    except (ImportError, AttributeError) as error:
        raise EngineUnavailable(
            "engine_not_importable",
            f"The engine '{name}' cannot be imported: {error}.",
            remedy="Install the extra that it belongs to; `duologue doctor` lists them.",
        ) from error
    if not isinstance(spec, EngineSpec) or spec.role is not role:
        raise _unknown(name, role)
    return spec, argument


def _load(name: str) -> Any:
    if "." in name:
        module, _, attribute = name.rpartition(".")
        return getattr(import_module(module), attribute)
    return next((point.load() for point in entry_points(group=GROUP, name=name)), None)


def names(role: Role) -> list[str]:
    """Engines that can be imported for a role."""
    found = []
    for point in entry_points(group=GROUP):
        try:
            spec = point.load()
        except ImportError:
            continue
        if isinstance(spec, EngineSpec) and spec.role is role:
            found.append(point.name)
    return sorted(found)


def _unknown(name: str, role: Role) -> EngineUnavailable:
    return EngineUnavailable(
        "engine_unknown",
        f"There is no {role} engine '{name}'.",
        remedy=f"Known here: {', '.join(names(role)) or 'none'}.",
    )
