"""Tools of MCP servers on the wire: what clients may ask for, what they are told, and what they are never shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from duologue.core.commands import CreateItem, CreateReply, SetOptions
from duologue.core.conversation import (
    ApprovalAnswer,
    ApprovalRequest,
    ServerCall,
    ToolList,
)
from duologue.core.notices import (
    ArgumentsGrew,
    ItemAdded,
    ListingBegan,
    ListingEnded,
    Notice,
    OutputBegan,
    OutputEnded,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    ServerCallBegan,
    ServerCallEnded,
)
from duologue.core.options import ReplyOptions
from duologue.core.tool_servers import (
    MAX_SERVERS,
    Approval,
    CallError,
    ListedTool,
    ToolFilter,
    ToolServer,
)
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.judge import Illegal, Referee

MCP = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.org/mcp"}


def wire() -> RealtimeWire:
    return RealtimeWire(SessionDocument("sess_1", "duologue", "Be brief."))


def say(w: RealtimeWire, event: Any) -> list[Any]:
    steps = w.receive(json.dumps(event).encode())
    return [s if not isinstance(s, bytes) else json.loads(s) for s in steps]


def update(w: RealtimeWire, **session: Any) -> tuple[ReplyOptions, dict[str, Any]]:
    command, event = say(w, {"type": "session.update", "session": {"type": "realtime", **session}})
    assert isinstance(command, SetOptions)
    judged([event])
    return command.options.reply, event["session"]


def judged(events: list[dict[str, Any]]) -> Referee:
    referee = Referee()
    referee.see(wire().greet()[0])
    for event in events:
        referee.see(json.dumps(event))
    return referee


# --- what clients ask for ---
@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, ToolServer("docs", "https://docs.org/mcp")),
        (
            {"headers": {"X-Key": "k"}, "authorization": "t", "server_description": "Docs."},
            ToolServer("docs", MCP["server_url"], (("X-Key", "k"),), "t", "Docs."),
        ),
        ({"allowed_tools": ["a", "b"]}, {"allowed": ToolFilter(frozenset({"a", "b"}))}),
        ({"allowed_tools": []}, {"allowed": ToolFilter(frozenset())}),
        ({"allowed_tools": {}}, {"allowed": None}),
        (
            {"allowed_tools": {"tool_names": ["a"], "read_only": True}},
            {"allowed": ToolFilter(frozenset({"a"}), read_only=True)},
        ),
        ({"require_approval": "always"}, {"approval": Approval("always")}),
        ({"require_approval": "never"}, {"approval": Approval("never")}),
        (
            {"require_approval": {"never": {"read_only": True}}},
            {"approval": Approval("always", never=ToolFilter(read_only=True))},
        ),
        (
            {"require_approval": {"always": {"tool_names": ["a"]}, "never": {}}},
            {"approval": Approval("always", always=ToolFilter(frozenset({"a"})))},
        ),
    ],
)
def test_servers_are_read(given: dict[str, Any], read: Any) -> None:
    expected = (
        replace(ToolServer("docs", "https://docs.org/mcp"), **read)
        if isinstance(read, dict)
        else read
    )
    function = {"type": "function", "name": "f", "parameters": {}}
    options, _ = update(wire(), tools=[function, {**MCP, **given}])
    assert options.servers == (expected,)
    assert [tool.name for tool in options.tools] == ["f"]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "mcp", "server_label": "x"}, "server_url"),
        ({"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}, "connector_id"),
        ({"type": "mcp", "server_label": "x", "tunnel_id": "t"}, "tunnel_id"),
        ({"type": "mcp", "server_url": "https://x.org"}, "server_label"),
        ({**MCP, "server_label": ""}, "server_label"),
        ({**MCP, "server_url": "file:///etc/passwd"}, "server_url"),
        ({**MCP, "server_url": "https://u:p@docs.org/"}, "server_url"),
        ({**MCP, "authorization": "a\r\nX-Other: b"}, "authorization"),
        ({**MCP, "headers": {"X-Key": "a\nb"}}, "headers"),
        ({**MCP, "headers": {"X Key": "a"}}, "headers"),
        ({**MCP, "headers": {"Host": "other.org"}}, "headers"),
        ({**MCP, "headers": {"MCP-Session-Id": "other"}}, "headers"),
        ({**MCP, "headers": {"X-Key": "a" * 9_000}}, "headers"),
        ({**MCP, "headers": {f"X-{n}": "a" for n in range(33)}}, "headers"),
        ({**MCP, "require_approval": "sometimes"}, "require_approval"),
    ],
)
@pytest.mark.parametrize("where", ["session", "response"])
def test_servers_that_cannot_be_are_named(tool: dict[str, Any], param: str, where: str) -> None:
    body = {"type": "realtime"} if where == "session" else {}
    kind = "session.update" if where == "session" else "response.create"
    (event,) = say(wire(), {"type": kind, where: {**body, "tools": [tool]}})
    assert event["error"]["param"] == f"{where}.tools[0].{param}"


def test_labels_are_unique_and_servers_few() -> None:
    w = wire()
    session = {"type": "realtime", "tools": [MCP, MCP]}
    (event,) = say(w, {"type": "session.update", "session": session})
    assert event["error"]["param"] == "session.tools[1].server_label"
    many = [{**MCP, "server_label": f"s{n}"} for n in range(MAX_SERVERS + 1)]
    (event,) = say(w, {"type": "session.update", "session": {"type": "realtime", "tools": many}})
    assert event["error"]["param"] == "session.tools"
    assert w.options().reply.servers == ()


CHOICES = [
    ({"type": "mcp", "server_label": "docs", "name": "find"}, ("find", "docs")),
    ({"type": "mcp", "server_label": "docs"}, ("required", "docs")),
    ({"type": "mcp", "server_label": "other"}, ("auto", "")),
    ({"type": "function", "name": "f"}, ("f", "")),
    ("none", ("none", "")),
]


@pytest.mark.parametrize(("choice", "read"), CHOICES)
def test_choices_among_a_servers_tools(choice: Any, read: tuple[str, str]) -> None:
    options, shown = update(wire(), tools=[MCP], tool_choice=choice)
    assert (options.tool_choice, options.choice_server) == read
    assert shown["tool_choice"] == choice
    w = wire()
    update(w, tools=[MCP])
    (command,) = say(w, {"type": "response.create", "response": {"tool_choice": choice}})
    assert isinstance(command, CreateReply)
    assert (command.options.tool_choice, command.options.choice_server) == read


def test_answers_inherit_servers_or_name_their_own_and_have_none_out_of_band() -> None:
    w = wire()
    update(w, tools=[MCP], tool_choice={"type": "mcp", "server_label": "docs"})
    other = {**MCP, "server_label": "other"}

    def labels(**response: Any) -> tuple[list[str], str]:
        (command,) = say(w, {"type": "response.create", "response": response})
        assert isinstance(command, CreateReply), command
        options = command.options
        return [server.label for server in options.servers], options.choice_server

    assert labels() == (["docs"], "docs")
    assert labels(tools=[other]) == (["other"], "")
    assert labels(tools=[]) == ([], "")
    assert labels(conversation="none") == ([], "")
    response = {"conversation": "none", "tools": [MCP]}
    (event,) = say(w, {"type": "response.create", "response": response})
    assert event["error"]["code"] == "unsupported_parameter"
    assert event["error"]["param"] == "response.tools"


def test_what_opens_a_server_is_never_shown_again() -> None:
    secrets = {
        "authorization": "SECRET",
        "headers": {"X-Key": "SECRET"},
        "server_url": "https://docs.org/mcp?key=SECRET",
    }
    w = wire()
    options, shown = update(w, tools=[{**MCP, **secrets, "allowed_tools": ["find"]}])
    assert shown["tools"] == [
        {
            "type": "mcp",
            "server_label": "docs",
            "server_url": "https://docs.org/mcp?<redacted>",
            "headers": {"X-Key": "<redacted>"},
            "allowed_tools": ["find"],
        }
    ]
    _, again = update(w, instructions="Be long.")
    assert "SECRET" not in json.dumps(again)
    assert b"SECRET" not in w.greet()[0]
    assert "SECRET" not in repr(replace(options.servers[0], url=""))
    assert w.options().reply.servers[0].token == "SECRET"  # it is still known


@pytest.mark.parametrize("item_id", ["mine", None])
def test_an_approval_is_read_with_an_id_or_without(item_id: str | None) -> None:
    item: dict[str, Any] = {
        "type": "mcp_approval_response",
        "approval_request_id": "r",
        "approve": True,
    }
    if item_id:
        item |= {"id": item_id, "reason": "fine"}
    create = {"type": "conversation.item.create", "previous_item_id": "r", "item": item}
    (command,) = say(wire(), create)
    assert isinstance(command, CreateItem)
    answer = command.item
    assert isinstance(answer, ApprovalAnswer)
    assert (answer.request_id, answer.approved, command.after) == ("r", True, "r")
    assert (answer.id == item_id, answer.reason) == (bool(item_id), "fine" if item_id else "")
    assert answer.id
    (event,) = say(wire(), {**create, "item": {"type": "mcp_approval_response", "approve": True}})
    assert event["error"]["param"] == "item.approval_request_id"


# --- what clients are told ---
TOOL = ListedTool("find", "Finds.", {"type": "object"}, {"readOnlyHint": True})
LIST = ToolList("l1", "docs", status="in_progress")
CALL = ServerCall("c1", "docs", "find", "", status="in_progress")
MADE = replace(CALL, arguments='{"q": 1}')
REQUEST = ApprovalRequest("q1", "docs", "find", '{"q": 1}')
DONE = replace(MADE, output="found", approval_id="q1", status="completed")
REPLY = ReplyState("r1", ReplyOptions())
SCENE: list[Notice] = [
    ListingBegan(LIST, None),
    ListingEnded(replace(LIST, tools=(TOOL,), status="completed"), None, False),
    ReplyBegan(REPLY),
    OutputBegan("r1", 0, CALL, "l1"),
    ArgumentsGrew("r1", 0, "c1", "x", '{"q": ', True),
    ArgumentsGrew("r1", 0, "c1", "x", "1}", True),
    OutputEnded("r1", 0, MADE, MADE.arguments, "l1"),
    OutputBegan("r1", 1, REQUEST, "c1"),
    OutputEnded("r1", 1, REQUEST, "", "c1"),
    ReplyEnded(replace(REPLY, status="completed", output=(MADE, REQUEST))),
    ItemAdded(ApprovalAnswer("a1", "q1", True), "q1"),
    ServerCallBegan("c1", 0),
    ServerCallEnded(DONE, 0, "l1"),
]


def events(scene: list[Notice]) -> list[dict[str, Any]]:
    w = wire()
    return [json.loads(data) for notice in scene for data in w.encode(notice)]


def test_a_whole_scene_in_the_documented_order() -> None:
    told = events(SCENE)
    assert judged(told).types()[1:] == [
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.done",
        "response.output_item.done",
        "response.output_item.added",
        "conversation.item.added",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "conversation.item.added",
        "conversation.item.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "conversation.item.done",
    ]
    assert [e["delta"] for e in told if e["type"] == "response.mcp_call_arguments.delta"] == [
        '{"q": ',
        "1}",
    ]
    listed = told[3]["item"]
    assert (listed["type"], listed["server_label"]) == ("mcp_list_tools", "docs")
    assert listed["tools"] == [
        {
            "name": "find",
            "description": "Finds.",
            "input_schema": {"type": "object"},
            "annotations": {"readOnlyHint": True},
        }
    ]
    assert told[-1]["item"] == {
        "id": "c1",
        "object": "realtime.item",
        "status": "completed",
        "type": "mcp_call",
        "server_label": "docs",
        "name": "find",
        "arguments": '{"q": 1}',
        "approval_request_id": "q1",
        "output": "found",
        "error": None,
    }
    # agents-js reads these without asking whether they are there
    assert {e["item"]["output"] for e in told if e.get("item", {}).get("type") == "mcp_call"} == {
        None,
        "found",
    }


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            CallError("tool_execution_error", "no"),
            {"type": "tool_execution_error", "message": "no"},
        ),
        (
            CallError("protocol_error", "no", -32_000),
            {"type": "protocol_error", "message": "no", "code": -32_000},
        ),
        (CallError("http_error", "no", 502), {"type": "http_error", "message": "no", "code": 502}),
    ],
)
def test_what_fails_is_told_with_its_reason(error: CallError, shown: dict[str, Any]) -> None:
    broken = replace(MADE, error=error, status="completed")
    listing = ListingEnded(replace(LIST, status="incomplete"), None, True)
    scene = [
        SCENE[0],
        listing,
        *SCENE[2:7],
        ReplyEnded(replace(REPLY, status="completed", output=(MADE,))),
    ]
    told = events([*scene, ServerCallBegan("c1", 0), ServerCallEnded(broken, 0, "l1")])
    types = judged(told).types()
    assert types[3:5] == ["mcp_list_tools.failed", "conversation.item.done"]
    assert types[-2:] == ["response.mcp_call.failed", "conversation.item.done"]
    assert told[-1]["item"]["error"] == shown


def test_a_call_that_is_broken_off_is_never_done() -> None:
    broken = replace(MADE, status="incomplete")
    scene = [*SCENE[:6], OutputEnded("r1", 0, broken, broken.arguments, "l1")]
    ended = replace(REPLY, status="cancelled", reason="turn_detected", output=(broken,))
    told = events([*scene, ReplyEnded(ended)])
    assert judged(told).types()[-2:] == ["response.output_item.done", "response.done"]
    with pytest.raises(Illegal):
        judged([*told, *events([ServerCallBegan("c1", 0)])])


# --- the judge of that ---
@pytest.mark.parametrize("at", range(len(events(SCENE))))
def test_an_event_left_out_is_noticed(at: int) -> None:
    told = events(SCENE)
    rest = told[at + 1 :]
    is_last_of_item = told[at]["type"] == "conversation.item.done" and (
        told[at]["item"]["type"] != "mcp_approval_request"
    )
    if is_last_of_item:
        return  # it may still come
    with pytest.raises(Illegal):
        judged(told[:at] + rest)


LOOSE = {
    frozenset(pair)
    for pair in (
        ("response.output_item.added", "conversation.item.added"),
        ("response.output_item.done", "conversation.item.done"),
        ("conversation.item.done", "response.created"),
        ("conversation.item.done", "response.mcp_call.in_progress"),
        ("response.output_item.done", "response.output_item.added"),
        ("response.done", "conversation.item.added"),
    )
}
"""Neighbours that may stand in either order."""


@pytest.mark.parametrize("at", range(len(events(SCENE)) - 1))
def test_two_events_in_the_wrong_order_are_noticed(at: int) -> None:
    told = events(SCENE)
    told[at], told[at + 1] = told[at + 1], told[at]
    if frozenset((told[at]["type"], told[at + 1]["type"])) in LOOSE:
        return
    with pytest.raises(Illegal):
        judged(told)


Spoil = Callable[[list[dict[str, Any]]], object]
SPOILT: dict[str, Spoil] = {
    "another call": lambda e: e[-2].update(item_id="c2"),
    "another index": lambda e: e[-2].update(output_index=1),
    "no output": lambda e: e[-1]["item"].update(output=None),
    "an error, too": lambda e: e[-1]["item"].update(
        error={"type": "tool_execution_error", "message": "no"}
    ),
    "a failure with output": lambda e: e[-2].update(type="response.mcp_call.failed"),
    "not approved": lambda e: [
        x["item"].update(approve=False)
        for x in e
        if x.get("item", {}).get("type") == "mcp_approval_response"
    ],
    "another approval": lambda e: [
        x["item"].update(approval_request_id="q2")
        for x in e
        if x.get("item", {}).get("type") == "mcp_approval_response"
    ],
    "tools at once": lambda e: e[0]["item"].update(tools=e[3]["item"]["tools"]),
    "tools of a failure": lambda e: e[2].update(type="mcp_list_tools.failed"),
    "another list": lambda e: e[1].update(item_id="l2"),
    "twice": lambda e: e.append({**e[-1], "event_id": "again"}),
    "other arguments": lambda e: [
        x.update(arguments="{}") for x in e if x["type"] == "response.mcp_call_arguments.done"
    ],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_does_not_fit_is_noticed(spoil: Spoil) -> None:
    told = events(SCENE)
    spoil(told)
    with pytest.raises(Illegal):
        judged(told)
