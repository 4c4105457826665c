"""The tool that every session has of its own: what it is called, and when a language model is offered it."""

from dataclasses import replace

from duologue.core.options import ReplyOptions, Tool

HANG_UP = Tool(
    "hang_up",
    "Ends this conversation. Use it when the user says goodbye or asks you to hang up, and never otherwise. "
    "Say a short goodbye first, in the same answer: the line is closed once the user has heard it.",
    {"type": "object", "properties": {}},
)
"""Carried out by us. It is no item of the conversation, so no client is ever asked to run it."""


def with_hang_up(options: ReplyOptions) -> ReplyOptions:
    """These options, with `HANG_UP` among the tools where it may be.

    It is not where the client has a function of that name, which then is the one that is meant; nor where the
    client itself chooses what is called: told that it must call something, a model that has nothing else hangs up.
    """
    is_taken = any(tool.name == HANG_UP.name for tool in options.tools)
    if is_taken or options.out_of_band or options.tool_choice != "auto":
        return options
    return replace(options, tools=(*options.tools, HANG_UP))


def may_hang_up(options: ReplyOptions) -> bool:
    """Whether `HANG_UP` is among the tools: it, and no function of the client's that looks like it."""
    return any(tool is HANG_UP for tool in options.tools)
