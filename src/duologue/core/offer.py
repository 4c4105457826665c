"""Which tools a language model is offered for one answer, and whose each of them is.

Models know functions by bare names. Where two have the same, the client's function wins over a server's
tool, and an earlier server over a later one: whoever is asked first must not be replaced by who comes later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from duologue.core.options import ReplyOptions, Tool
from duologue.core.tool_servers import ListedTool, ToolServer, callable_name


@dataclass(frozen=True, slots=True)
class Target:
    """A tool of a server's."""

    server: ToolServer
    tool: ListedTool


@dataclass(frozen=True, slots=True)
class Offer:
    """What a model may call.

    Attributes:
        tools: the client's functions and the servers' tools, under the names by which they are called.
        choice: see `ReplyOptions.tool_choice`.
        targets: by such a name, the tool of a server's behind it.
    """

    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    targets: Mapping[str, Target] = field(default_factory=dict)


Listed = Sequence[tuple[ToolServer, Sequence[ListedTool]]]
"""The servers of an answer, in the client's order, with the tools that each is known to have."""


def make_offer(options: ReplyOptions, listed: Listed) -> Offer:
    """What the model may call, with what is known now.

    A choice that names a server, or a tool of it, that is not there leaves the model its choice.
    """
    if not options.choice_server:
        return _merged(options.tools, listed, options.tool_choice)
    meant = [(server, tools) for server, tools in listed if server.label == options.choice_server]
    only = _merged((), meant, options.tool_choice)
    if only.choice != "required":
        only = Offer(only.tools, callable_name(only.choice), only.targets)
    is_there = only.choice in only.targets or (only.choice == "required" and only.targets)
    return only if is_there else _merged(options.tools, listed, "auto")


def _merged(functions: Sequence[Tool], listed: Listed, choice: str) -> Offer:
    tools = list(functions)
    taken = {tool.name for tool in functions}
    targets = {}
    for server, found in listed:
        for tool in found:
            name = callable_name(tool.name)
            if name in taken or not server.allows(tool):
                continue
            taken.add(name)
            targets[name] = Target(server, tool)
            about = "\n".join(filter(None, (tool.description, server.description)))
            tools.append(Tool(name, about, tool.schema))
    return Offer(tuple(tools), choice, targets)
