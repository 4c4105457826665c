"""Tools of servers in a session: listed, offered, called, approved; and what a bad server costs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from duologue.core.commands import CancelReply, CreateItem, CreateReply, SetOptions
from duologue.core.conversation import (
    ApprovalAnswer,
    ApprovalRequest,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.errors import EngineRefused
from duologue.core.notices import (
    ArgumentsGrew,
    ItemAdded,
    ListingBegan,
    ListingEnded,
    OutputBegan,
    OutputEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ServerCallBegan,
    ServerCallEnded,
)
from duologue.core.options import ReplyOptions, SessionOptions, Tool
from duologue.core.tool_servers import Approval, CallError, ListedTool, ToolFilter, ToolServer
from duologue.engines.fakes import FakeTts
from duologue.ports import CallDelta, CutShort, Delta, Prompt, TextDelta
from duologue.session import tool_link, toolbox
from duologue.session.toolbox import MAX_CALLS, MAX_OUTPUT_CHARS, MAX_TOOLS, MAX_UNANSWERED
from tests.support.stage import Stage, stage
from tests.support.tool_shop import TOOLS, ToolShop

FREE = ToolServer("shop", "https://shop.org/mcp", approval=Approval("never"))
ASKED = replace(FREE, approval=Approval())
MCP = (ListingBegan, ListingEnded, ServerCallBegan, ServerCallEnded)


class Model:
    """Answers with what it is told to, one answer after the other; remembers what it was shown."""

    def __init__(self, *answers: Sequence[Delta]) -> None:
        self.answers = list(answers)
        self.prompts: list[Prompt] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        self.prompts.append(prompt)
        for delta in self.answers.pop(0) if self.answers else [TextDelta("Well.")]:
            yield delta
        await self.may_end.wait()


def call(name: str, arguments: str = "{}", call_id: str = "c1") -> list[Delta]:
    half = len(arguments) // 2
    return [
        CallDelta(call_id, name, arguments[:half]),
        CallDelta(call_id, "", arguments[half:]),
    ]


def with_servers(*servers: ToolServer, **reply: Any) -> SessionOptions:
    return SessionOptions(reply=ReplyOptions(spoken=False, servers=servers, **reply))


async def ask(s: Stage, **options: Any) -> None:
    """An answer, as the session would make it."""
    await s.ask(CreateReply, replace(s.session.options.reply, **options))


def order(s: Stage) -> list[str]:
    """What was told of tools and answers."""
    kinds = (*MCP, ReplyBegan, OutputBegan, OutputEnded, ReplyEnded)
    return [type(notice).__name__ for notice in s.ear.of(*kinds)]


async def test_a_server_is_asked_once_what_it_has() -> None:
    shop = ToolShop()
    async with stage(with_servers(FREE), tools=shop) as s:
        await s.settle()
        began, ended = s.ear.of(*MCP)
        assert (began.item.status, began.item.tools, began.previous_id) == ("in_progress", (), None)
        assert (ended.item, ended.failed) == (
            replace(began.item, tools=TOOLS, status="completed"),
            False,
        )
        assert list(s.session.conversation) == [ended.item]
        await s.ask(SetOptions, with_servers(FREE, instructions="Be brief."))
        await s.ask(SetOptions, with_servers(replace(FREE, allowed=ToolFilter(frozenset({"add"})))))
        assert (len(s.ear.of(*MCP)), shop.made) == (2, ["shop"])
        await s.ask(SetOptions, with_servers(replace(FREE, token="other")))
        assert (len(s.ear.of(*MCP)), shop.made, shop.open) == (4, ["shop", "shop"], ["shop"])
        await s.ask(SetOptions, with_servers())
        assert shop.open == []
    assert not s.ear.of(Problem)


async def test_the_model_is_offered_them_beside_the_clients_functions() -> None:
    model = Model()
    options = with_servers(FREE, tools=(Tool("wait", "the client's", {}),))
    async with stage(options, tools=ToolShop(), llm=model) as s:
        await ask(s)
        await s.ask(SetOptions, replace(options, reply=replace(options.reply, servers=())))
        await ask(s)
        await ask(s, tool_choice="required", choice_server="shop", servers=(FREE,))
    first, second, third = (prompt.options for prompt in model.prompts)
    assert [tool.name for tool in first.tools] == ["wait", "add", "fail"]
    assert first.tools[0].description == "the client's"
    assert [tool.name for tool in second.tools] == ["wait"]
    assert ([t.name for t in third.tools], third.tool_choice) == (
        ["add", "wait", "fail"],
        "required",
    )


async def test_a_call_is_run_and_told_after_the_answer_that_made_it() -> None:
    shop, model = ToolShop(), Model(call("add", '{"a": 1}'))
    async with stage(with_servers(FREE), tools=shop, llm=model) as s:
        await s.settle()
        await ask(s)
        assert order(s)[2:] == [
            "ReplyBegan",
            "OutputBegan",
            "OutputEnded",
            "ServerCallBegan",
            "ReplyEnded",
            "ServerCallEnded",
        ]
        assert shop.calls == [("shop", "add", {"a": 1})]
        begun, whole = s.ear.last(OutputBegan).item, s.ear.last(OutputEnded).item
        assert (begun.server, begun.name, begun.arguments) == ("shop", "add", "")
        assert (whole.arguments, whole.output, whole.status) == ('{"a": 1}', None, "in_progress")
        assert [g.on_server for g in s.ear.of(ArgumentsGrew)] == [True, True]
        assert s.ear.last(ReplyEnded).reply.output == (whole,)
        ended = s.ear.last(ServerCallEnded)
        assert ended.item == replace(whole, output="three", status="completed")
        assert (ended.index, ended.previous_id) == (0, s.ear.last(OutputBegan).previous_id)
        assert s.session.conversation.get(whole.id) == ended.item
        await ask(s)
        assert model.prompts[-1].items[-1] == ended.item
    assert not s.ear.of(Problem)


async def test_functions_of_the_client_and_tools_of_servers_in_one_answer() -> None:
    both = [TextDelta("One moment."), *call("add", call_id="a"), *call("mine", call_id="b")]
    options = with_servers(FREE, tools=(Tool("mine", "", {}),))
    async with stage(options, tools=ToolShop(), llm=Model(both)) as s:
        await s.settle()
        await ask(s)
        kinds = [type(item).__name__ for item in s.ear.last(ReplyEnded).reply.output]
        assert kinds == ["Message", "ServerCall", "FunctionCall"]
        assert len(s.ear.of(ServerCallEnded)) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("fail", "{}", CallError("tool_execution_error", "it went wrong")),
        (
            "add",
            '{"a": ',
            CallError(
                "tool_execution_error",
                "The tool was not run: its arguments are no JSON object.",
            ),
        ),
    ],
)
async def test_a_call_that_fails_says_why(tool: str, arguments: str, error: CallError) -> None:
    model = Model(call(tool, arguments))
    async with stage(with_servers(FREE), tools=ToolShop(), llm=model) as s:
        await s.settle()
        await ask(s)
        ended = s.ear.last(ServerCallEnded).item
        assert (ended.error, ended.output, ended.status) == (error, None, "completed")


# --- approval ---
async def asked(s: Stage) -> ApprovalRequest:
    await s.settle()
    await ask(s)
    request = s.ear.last(OutputEnded).item
    assert isinstance(request, ApprovalRequest)
    return request


async def test_the_client_is_asked_first() -> None:
    shop, model = ToolShop(), Model(call("add", '{"a": 1}'))
    async with stage(with_servers(ASKED), tools=shop, llm=model) as s:
        request = await asked(s)
        made, again = s.ear.last(ReplyEnded).reply.output
        assert again == request
        assert (request.server, request.name, request.arguments) == ("shop", "add", '{"a": 1}')
        assert not shop.calls
        assert not s.ear.of(ServerCallBegan)
        await s.ask(CreateItem, ApprovalAnswer("yes", request.id, True), request.id)
        assert s.ear.last(ItemAdded).previous_id == request.id
        ended = s.ear.last(ServerCallEnded)
        assert ended.item == replace(
            made, output="three", status="completed", approval_id=request.id
        )
        assert ended.index == 0
        assert [type(n).__name__ for n in s.ear.of(ItemAdded, *MCP)][2:] == [
            "ItemAdded",
            "ServerCallBegan",
            "ServerCallEnded",
        ]


@pytest.mark.parametrize("reason", ["", "too dear"])
async def test_what_is_refused_is_not_run_and_the_model_is_told(reason: str) -> None:
    shop, model = ToolShop(), Model(call("add"))
    async with stage(with_servers(ASKED), tools=shop, llm=model) as s:
        request = await asked(s)
        await s.ask(CreateItem, ApprovalAnswer("no", request.id, False, reason))
        ended = s.ear.last(ServerCallEnded).item
        assert ended.error is not None
        assert (reason or "the user did not approve it") in ended.error.message
        assert not shop.calls
        assert not s.ear.of(ServerCallBegan)
        await ask(s)
        assert ended in model.prompts[-1].items


async def test_an_approval_is_given_once_and_to_what_asked() -> None:
    shop, model = ToolShop(), Model(call("add"))
    async with stage(with_servers(ASKED), tools=shop, llm=model) as s:
        request = await asked(s)
        for request_id in ("nothing", request.id, request.id):
            number = len(s.ear.of(ItemAdded))
            await s.ask(CreateItem, ApprovalAnswer(f"a{number}", request_id, True))
        assert [p.error.code for p in s.ear.of(Problem)] == ["mcp_approval_request_not_found"] * 2
        assert len(s.ear.of(ItemAdded)) == 1
        assert len(shop.calls) == 1


async def test_an_answer_that_cannot_be_added_decides_nothing() -> None:
    shop, model = ToolShop(), Model(call("add"))
    async with stage(with_servers(ASKED), tools=shop, llm=model) as s:
        request = await asked(s)
        await s.ask(CreateItem, ApprovalAnswer("a", request.id, True), "nowhere")
        assert not shop.calls
        await s.ask(CreateItem, ApprovalAnswer("a", request.id, True))
        assert len(shop.calls) == 1


async def test_too_many_open_requests_close_the_oldest() -> None:
    answers = [call("add", call_id=str(n)) for n in range(MAX_UNANSWERED + 1)]
    async with stage(with_servers(ASKED), tools=ToolShop(), llm=Model(*answers)) as s:
        first = await asked(s)
        for _ in range(MAX_UNANSWERED):
            await ask(s)
        (ended,) = s.ear.of(ServerCallEnded)
        assert "nobody answered" in ended.item.error.message
        await s.ask(CreateItem, ApprovalAnswer("late", first.id, True))
        assert s.ear.last(Problem).error.code == "mcp_approval_request_not_found"


async def test_an_approved_call_runs_although_its_server_was_taken_out() -> None:
    shop = ToolShop()
    async with stage(with_servers(ASKED), tools=shop, llm=Model(call("add"))) as s:
        request = await asked(s)
        await s.ask(SetOptions, with_servers())
        assert shop.open == []
        await s.ask(CreateItem, ApprovalAnswer("a", request.id, True))
        assert s.ear.last(ServerCallEnded).item.output == "three"
        assert (shop.open, shop.made) == ([], ["shop", "shop"])


# --- answers end before their tools ---
async def test_an_interruption_does_not_stop_what_runs() -> None:
    shop = ToolShop()
    model = Model([TextDelta("Let me see about that for you."), *call("wait")])
    options = SessionOptions(reply=ReplyOptions(servers=(FREE,)))
    async with stage(options, tools=shop, llm=model, tts=FakeTts("tts_s=6")) as s:
        await s.turn()
        assert len(s.ear.of(ServerCallBegan)) == 1
        await s.speak(1_000)
        assert s.ear.last(ReplyEnded).reply.status == "cancelled"
        assert not s.ear.of(ServerCallEnded)
        shop.may_return.set()
        await s.settle()
        assert s.ear.last(ServerCallEnded).item.output == "three"


async def test_what_is_done_early_is_told_after_the_answer() -> None:
    shop = ToolShop()
    model = Model([TextDelta("Let me see about that for you."), *call("add")])
    options = SessionOptions(reply=ReplyOptions(servers=(FREE,)))
    async with stage(options, tools=shop, llm=model, tts=FakeTts("tts_s=2")) as s:
        await s.turn()
        assert shop.calls
        (item,) = [i for i in s.session.conversation if isinstance(i, ServerCall)]
        assert item.output == "three"
        assert not s.ear.of(ServerCallEnded)
        await s.quiet(2_500)
        assert [type(n) for n in s.ear.of(ReplyEnded, ServerCallEnded)] == [
            ReplyEnded,
            ServerCallEnded,
        ]


async def test_a_call_that_is_broken_off_is_not_run() -> None:
    shop, model = ToolShop(), Model(call("add"))
    model.may_end.clear()
    async with stage(with_servers(FREE), tools=shop, llm=model) as s:
        await s.settle()
        await ask(s)
        await s.ask(CancelReply, None)
        ended = s.ear.last(ReplyEnded).reply
        assert ended.status == "cancelled"
        assert [item.status for item in ended.output] == ["incomplete"]
        assert not shop.calls
        assert not s.ear.of(ServerCallBegan, ServerCallEnded)


async def test_a_call_that_is_cut_short_is_not_run() -> None:
    shop, model = ToolShop(), Model([*call("add"), CutShort("max_output_tokens")])
    async with stage(with_servers(FREE), tools=shop, llm=model) as s:
        await s.settle()
        await ask(s)
        assert [i.status for i in s.ear.last(ReplyEnded).reply.output] == ["incomplete"]
        assert not shop.calls


async def test_nothing_runs_on_when_the_session_is_over() -> None:
    shop = ToolShop()
    async with stage(with_servers(FREE), tools=shop, llm=Model(call("wait"))) as s:
        await s.settle()
        await ask(s)
        assert shop.open == ["shop"]
    assert shop.open == []
    assert not s.ear.of(ServerCallEnded, Problem)


# --- an answer's own servers ---
async def test_an_answer_waits_for_a_server_that_only_it_names() -> None:
    shop, model = ToolShop(), Model(call("add"))
    async with stage(SessionOptions(), tools=shop, llm=model) as s:
        await s.ask(CreateReply, ReplyOptions(spoken=False, servers=(FREE,)))
        assert order(s)[:3] == ["ReplyBegan", "ListingBegan", "ListingEnded"]
        assert [tool.name for tool in model.prompts[0].options.tools] == ["add", "wait", "fail"]
        assert s.ear.last(ServerCallEnded).item.output == "three"
        await s.ask(CreateReply, ReplyOptions(spoken=False, servers=(FREE,)))
        assert shop.made == ["shop"]


async def test_an_answer_is_made_although_its_server_fails_and_the_next_tries_again() -> None:
    shop, model = ToolShop(refuses=EngineRefused("mcp_server_error", "No.")), Model()
    async with stage(SessionOptions(), tools=shop, llm=model) as s:
        await s.ask(CreateReply, ReplyOptions(spoken=False, servers=(FREE,)))
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert model.prompts[0].options.tools == ()
        shop.refuses = None
        await s.ask(CreateReply, ReplyOptions(spoken=False, servers=(FREE,)))
        assert len(model.prompts[1].options.tools) == 3


async def test_an_answer_does_not_wait_for_the_sessions_servers() -> None:
    model = Model()
    async with stage(with_servers(FREE), tools=ToolShop(hangs=True), llm=model) as s:
        await ask(s)
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert model.prompts[0].options.tools == ()


# --- bad servers ---
def failed(s: Stage) -> str:
    """The code with which a listing failed."""
    ended, problem = s.ear.last(ListingEnded), s.ear.last(Problem)
    assert (ended.failed, ended.item.tools, ended.item.status) == (True, (), "incomplete")
    assert s.session.conversation.get(ended.item.id) == ended.item
    code: str = problem.error.code
    return code


async def test_a_server_that_refuses_costs_its_tools_only() -> None:
    shop = ToolShop(refuses=EngineRefused("mcp_server_denied", "No."))
    async with stage(with_servers(FREE), tools=shop) as s:
        await s.settle()
        assert failed(s) == "mcp_server_denied"
        await ask(s)
        assert s.ear.last(ReplyEnded).reply.status == "completed"


async def test_a_server_that_failed_is_asked_again_when_the_client_changes_its_servers() -> None:
    shop = ToolShop(refuses=EngineRefused("mcp_server_denied", "No."))
    async with stage(with_servers(FREE), tools=shop) as s:
        await s.settle()
        shop.refuses = None
        await s.ask(SetOptions, with_servers(FREE, instructions="Be brief."))
        assert len(s.ear.of(ListingEnded)) == 1
        await s.ask(SetOptions, with_servers(FREE, replace(FREE, label="other")))
        assert [ended.failed for ended in s.ear.of(ListingEnded)] == [True, False, False]
        assert shop.open == ["shop", "other"]


async def test_where_no_servers_are_called_it_says_so() -> None:
    async with stage(with_servers(FREE)) as s:
        await s.settle()
        assert failed(s) == "mcp_not_set_up"
        assert "--mcp-servers" in s.ear.last(Problem).error.remedy


async def test_a_server_that_hangs_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(tool_link, "LISTING_S", 0)
    async with stage(with_servers(FREE), tools=ToolShop(hangs=True)) as s:
        await s.settle()
        assert failed(s) == "mcp_server_timeout"


async def test_a_tool_that_hangs_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(tool_link, "CALL_S", 0)
    shop, model = ToolShop(), Model(call("wait"))
    async with stage(with_servers(FREE), tools=shop, llm=model) as s:
        await s.settle()
        await ask(s)
        error = s.ear.last(ServerCallEnded).item.error
        assert (error.kind, "did not return" in error.message) == ("tool_execution_error", True)
        assert shop.open == ["shop"]


async def test_a_server_that_is_lost_fails_what_runs_and_is_connected_to_again() -> None:
    shop = ToolShop()
    two = [*call("wait", call_id="a"), *call("wait", call_id="b")]
    async with stage(with_servers(FREE), tools=shop, llm=Model(two, call("add"))) as s:
        await s.settle()
        await ask(s)
        shop.lose("shop")
        await s.settle()
        errors = [ended.item.error for ended in s.ear.of(ServerCallEnded)]
        assert errors == [CallError("protocol_error", "It broke off.", -32_000)] * 2
        assert (shop.open, s.session.ended.is_set()) == ([], False)
        await ask(s)
        assert s.ear.last(ServerCallEnded).item.output == "three"
        assert (shop.made, len(s.ear.of(ListingBegan))) == (["shop", "shop"], 1)


async def test_a_server_that_stays_away_fails_each_call() -> None:
    shop = ToolShop()
    async with stage(with_servers(FREE), tools=shop, llm=Model(call("add"), call("add"))) as s:
        await s.settle()
        shop.lose("shop")
        shop.refuses = EngineRefused("mcp_server_error", "Not here.")
        for count in (1, 2):
            await ask(s)
            assert [e.item.error.message for e in s.ear.of(ServerCallEnded)] == [
                "Not here."
            ] * count
        assert not s.ear.of(Problem)


async def test_a_bug_of_ours_ends_the_session_loudly(monkeypatch: Any) -> None:
    monkeypatch.setattr(toolbox, "ToolList", None)
    async with stage(with_servers(FREE), tools=ToolShop()) as s:
        await s.settle()
        assert s.ear.last(Problem).error.code == "internal_error"


# --- bounds ---
async def test_so_many_servers_and_no_more(monkeypatch: Any) -> None:
    monkeypatch.setattr(toolbox, "MAX_SERVERS", 2)
    shop, model = ToolShop(), Model()
    a, b, c, d = (replace(FREE, label=label) for label in "abcd")
    async with stage(with_servers(a), tools=shop, llm=model) as s:
        await s.settle()
        await ask(s, servers=(b,))
        assert shop.open == ["a", "b"]
        await ask(s, servers=(c,))  # takes the place of the one that only the last answer named
        assert shop.open == ["a", "c"]
        assert not s.ear.of(Problem)
        await ask(s, servers=(c, d))
        assert shop.open == ["a", "d"]
        await s.ask(SetOptions, with_servers(a, b, c))
        assert s.ear.last(Problem).error.code == "too_many_tool_servers"
        assert shop.open == ["a", "b"]


async def test_so_many_calls_and_no_more() -> None:
    shop = ToolShop()
    many = [delta for n in range(MAX_CALLS + 2) for delta in call("wait", call_id=str(n))]
    async with stage(with_servers(FREE), tools=shop, llm=Model(many, call("add"))) as s:
        await s.settle()
        await ask(s)
        assert len(shop.calls) == MAX_CALLS
        assert [bool(e.item.error) for e in s.ear.of(ServerCallEnded)] == [True, True]
        shop.may_return.set()
        await s.settle()
        assert len(s.ear.of(ServerCallEnded)) == MAX_CALLS + 2
        await ask(s)
        assert s.ear.last(ServerCallEnded).item.output == "three"


async def test_long_lists_and_long_outputs_are_cut() -> None:
    tools = [*TOOLS, *(ListedTool(f"t{n}", "", {}) for n in range(200))]
    shop = ToolShop(tools=tools, output="x" * (MAX_OUTPUT_CHARS + 5))
    async with stage(with_servers(FREE), tools=shop, llm=Model(call("add"))) as s:
        await s.settle()
        assert len(s.ear.last(ListingEnded).item.tools) == MAX_TOOLS
        await ask(s)
        output = s.ear.last(ServerCallEnded).item.output
        assert output.startswith("x" * MAX_OUTPUT_CHARS)
        assert f"{MAX_OUTPUT_CHARS + 5} characters" in output
        assert len(output) < MAX_OUTPUT_CHARS + 100


async def test_sessions_and_answers_that_have_no_use_for_tools() -> None:
    shop, model = ToolShop(), Model()
    async with stage(replace(with_servers(FREE), answers=False), tools=shop) as s:
        await s.settle()
        assert not shop.made
    async with stage(with_servers(FREE), tools=shop, llm=model) as s:
        await s.settle()
        s.session.say("Time is up.")
        await s.quiet(100)
        assert not model.prompts
        note = Message("m", "user", (Part("input_text", "hello"),))
        await s.ask(CreateItem, note)
        await s.ask(CreateReply, ReplyOptions(spoken=False, out_of_band=True))
        assert model.prompts[0].options.tools == ()
        assert [i for i in s.session.conversation if isinstance(i, ToolList)]
