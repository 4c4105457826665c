"""The judge of what we send: the `openai` package's own types, and the protocol's documented order.

`Referee` is fed a connection's server events and raises on the first that is not legal: an unknown type or
field value, an id that links to nothing, an event out of its order. It is itself tested on broken streams.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel


class Illegal(AssertionError):
    """An event that no server of this protocol would send here."""


@cache
def server_events() -> dict[str, type[BaseModel]]:
    """The SDK's model for each type of server event."""
    models = {}
    for model in get_args(get_args(RealtimeServerEvent)[0]):
        (kind, *_) = get_args(model.model_fields["type"].annotation)
        models[kind] = model
    return models


def _in_the_sdks_formats(event: dict[str, Any]) -> dict[str, Any]:
    """The event, but for formats of sound that we serve beyond the protocol to who asks for them."""
    beyond = [{"type": "audio/pcm", "rate": rate} for rate in (8_000, 16_000, 48_000)]
    text = json.dumps(event)
    for fmt in [{"type": "audio/opus"}, *beyond]:
        text = text.replace(json.dumps(fmt), json.dumps({"type": "audio/pcm", "rate": 24_000}))
    plain: dict[str, Any] = json.loads(text)
    return plain


@dataclass
class Answer:
    """What was told of a response. `open`: output index -> item."""

    aside: bool
    open: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed: dict[int, str] = field(default_factory=dict)


@dataclass
class Call:
    """A server's tool that a response called.

    `state`: "made" once the response has it whole, "broken" if it will never run, then as its events say.
    """

    response_id: str
    index: int
    state: str


class Referee:
    """One connection's events, in order."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._items: set[str] = set()
        self._whole: set[str] = set()
        self._committed: set[str] = set()
        self._speech: str | None = None
        self._last_ms = 0
        self._answers: dict[str, Answer] = {}
        self._lists: dict[str, str] = {}
        self._calls: dict[str, Call] = {}
        self._requests: dict[str, bool | None] = {}

    def see(self, data: bytes | str) -> dict[str, Any]:
        """Judge the next event; returns it as plain data."""
        event: dict[str, Any] = json.loads(data)
        kind = event.get("type", "")
        self._need(kind in server_events(), f"unknown type {kind!r}")
        server_events()[kind].model_validate(_in_the_sdks_formats(event), strict=False)
        self._need(event["event_id"] not in self._ids, "an event_id was used twice")
        self._ids.add(event["event_id"])
        if not self.seen:
            self._need(kind == "session.created", "the first event is session.created")
        handler = getattr(self, "_" + kind.replace(".", "_"), None)
        if handler is not None:
            handler(event)
        self.seen.append(event)
        return event

    def types(self) -> list[str]:
        """What came, without the deltas."""
        return [e["type"] for e in self.seen if not e["type"].endswith(".delta")]

    @staticmethod
    def _need(held: object, what: str) -> None:
        if not held:
            raise Illegal(what)

    # --- the user's side ---
    def _input_audio_buffer_speech_started(self, e: dict[str, Any]) -> None:
        self._need(self._speech is None, "speech started twice")
        self._need(e["audio_start_ms"] >= 0, "time counts from 0")
        self._speech = e["item_id"]

    def _input_audio_buffer_speech_stopped(self, e: dict[str, Any]) -> None:
        self._need(e["item_id"] == self._speech, "speech stopped that had not started")
        self._need(e["audio_end_ms"] >= self._last_ms, "time ran backwards")
        self._last_ms = e["audio_end_ms"]

    def _input_audio_buffer_timeout_triggered(self, e: dict[str, Any]) -> None:
        self._need(self._speech is None, "nobody spoke, while somebody speaks")
        self._need(e["audio_end_ms"] >= e["audio_start_ms"], "time ran backwards")
        self._speech = e["item_id"]

    def _input_audio_buffer_committed(self, e: dict[str, Any]) -> None:
        if self._speech is not None:
            self._need(e["item_id"] == self._speech, "another item than the one announced")
        self._speech = None
        self._need(
            e["previous_item_id"] is None or e["previous_item_id"] in self._items,
            "previous_item_id links to nothing",
        )
        self._committed.add(e["item_id"])

    def _input_audio_buffer_cleared(self, e: dict[str, Any]) -> None:
        self._speech = None

    def _conversation_item_added(self, e: dict[str, Any]) -> None:
        item = e["item"]
        self._need(item["id"] not in self._items, "an item was added twice")
        previous = e["previous_item_id"]
        self._need(previous is None or previous in self._items, "previous_item_id links to nothing")
        self._items.add(item["id"])
        if item["type"] == "mcp_list_tools":
            self._need(not item["tools"], "tools before their server was asked")
            self._lists[item["id"]] = "added"
        elif item["type"] == "mcp_approval_request":
            self._requests[item["id"]] = None
        elif item["type"] == "mcp_approval_response":
            request_id = item["approval_request_id"]
            self._need(self._requests.get(request_id, True) is None, "an approval nobody asked for")
            self._requests[request_id] = item["approve"]

    def _conversation_item_done(self, e: dict[str, Any]) -> None:
        item_id, kind = e["item"]["id"], e["item"]["type"]
        self._need(item_id in self._items, "an item is done that was not added")
        self._need(item_id not in self._whole, "an item is done twice")
        self._whole.add(item_id)
        if kind == "mcp_list_tools":
            ended = self._lists[item_id]
            self._need(ended in ("completed", "failed"), "a list is done before its end was told")
            self._need(ended == "completed" or not e["item"]["tools"], "tools of a failed list")
        elif kind == "mcp_call":
            self._tool_is_done(e["item"])

    # --- tools of servers ---
    def _listing(self, e: dict[str, Any], after: str) -> None:
        state = self._lists.get(e["item_id"])
        self._need(state == after, f"{e['type']} of a list that is {state}")
        self._lists[e["item_id"]] = e["type"].rpartition(".")[2]

    def _mcp_list_tools_in_progress(self, e: dict[str, Any]) -> None:
        self._listing(e, after="added")

    def _mcp_list_tools_completed(self, e: dict[str, Any]) -> None:
        self._listing(e, after="in_progress")

    _mcp_list_tools_failed = _mcp_list_tools_completed

    def _tool(self, e: dict[str, Any], after: tuple[str, ...]) -> None:
        call = self._calls.get(e["item_id"])
        self._need(call is not None, f"{e['type']} of what no response called")
        assert call is not None
        self._need(call.index == e["output_index"], f"{e['type']} of another item")
        self._need(call.state in after, f"{e['type']} of a call that is {call.state}")
        call.state = e["type"].rpartition(".")[2]
        is_over = call.response_id not in self._answers
        self._need(is_over or call.state == "in_progress", "a tool ended before its response")

    def _response_mcp_call_in_progress(self, e: dict[str, Any]) -> None:
        self._tool(e, after=("made",))

    def _response_mcp_call_completed(self, e: dict[str, Any]) -> None:
        self._tool(e, after=("in_progress",))

    def _response_mcp_call_failed(self, e: dict[str, Any]) -> None:
        self._tool(e, after=("made", "in_progress"))

    def _tool_is_done(self, item: dict[str, Any]) -> None:
        call = self._calls.get(item["id"])
        self._need(call is not None, "a call is done that no response made")
        assert call is not None
        self._need(call.state in ("completed", "failed"), f"a call is done that is {call.state}")
        has = (item["output"] is not None, item["error"] is not None)
        self._need(has == (call.state == "completed", call.state == "failed"), "its end is another")
        request_id = item["approval_request_id"]
        if request_id is not None and call.state == "completed":
            self._need(self._requests.get(request_id), "a call ran that was not approved")

    def _conversation_item_deleted(self, e: dict[str, Any]) -> None:
        self._need(e["item_id"] in self._items, "an item was deleted that was not there")

    def _conversation_item_input_audio_transcription_completed(self, e: dict[str, Any]) -> None:
        self._need(e["item_id"] in self._committed, "a transcript of an item not committed")

    # --- answers ---
    def _response_created(self, e: dict[str, Any]) -> None:
        response = e["response"]
        if response["conversation_id"] is not None:
            open_ones = [a for a in self._answers.values() if not a.aside]
            self._need(not open_ones, "a response began before the last was done")
        self._need(response["status"] == "in_progress", "a response begins in progress")
        self._need(response["id"] not in self._answers, "a response began twice")
        self._answers[response["id"]] = Answer(aside=response["conversation_id"] is None)

    def _of_response(self, e: dict[str, Any]) -> "Answer":
        answer = self._answers.get(e["response_id"])
        self._need(answer is not None, f"{e['type']} of a response that is not open")
        assert answer is not None
        return answer

    def _response_output_item_added(self, e: dict[str, Any]) -> None:
        answer = self._of_response(e)
        count = len(answer.open) + len(answer.closed)
        self._need(e["output_index"] == count, "output_index jumps")
        begun = {"id": e["item"]["id"], "text": "", "part": False, "seen": set()}
        answer.open[e["output_index"]] = begun

    def _part(self, e: dict[str, Any]) -> dict[str, Any]:
        answer = self._of_response(e)
        self._need(e["output_index"] in answer.open, f"{e['type']} of an item that is not open")
        part = answer.open[e["output_index"]]
        self._need(part["id"] == e["item_id"], f"{e['type']} of another item")
        self._need(answer.aside or part["id"] in self._items, f"{e['type']} before item.added")
        self._need(not e["type"].endswith(".delta") or not part["seen"], "more after the end")
        return part

    def _response_content_part_added(self, e: dict[str, Any]) -> None:
        self._part(e)["part"] = True

    def _response_output_audio_delta(self, e: dict[str, Any]) -> None:
        self._need(self._part(e)["part"], "sound before its content part")
        self._need(e["delta"], "an empty delta")

    def _grow(self, e: dict[str, Any]) -> None:
        part = self._part(e)
        self._need(part["part"] or "arguments" in e["type"], "text before its content part")
        part["text"] += e["delta"]

    _response_output_audio_transcript_delta = _grow
    _response_output_text_delta = _grow
    _response_function_call_arguments_delta = _grow
    _response_mcp_call_arguments_delta = _grow

    def _response_output_audio_done(self, e: dict[str, Any]) -> None:
        self._part(e)["seen"].add("sound")

    def _response_output_audio_transcript_done(self, e: dict[str, Any]) -> None:
        part = self._part(e)
        self._need(part["text"] == e["transcript"], "the transcript is not its deltas")
        part["seen"].add("text")

    def _response_output_text_done(self, e: dict[str, Any]) -> None:
        part = self._part(e)
        self._need(part["text"] == e["text"], "the text is not its deltas")
        part["seen"].add("text")

    def _response_function_call_arguments_done(self, e: dict[str, Any]) -> None:
        part = self._part(e)
        self._need(part["text"] == e["arguments"], "the arguments are not their deltas")
        part["seen"].add("text")

    _response_mcp_call_arguments_done = _response_function_call_arguments_done

    def _response_content_part_done(self, e: dict[str, Any]) -> None:
        part = self._part(e)
        told = e["part"].get("transcript", e["part"].get("text"))
        self._need(part["text"] == told, "the content part is not its deltas")
        ended = {"sound", "text"} if e["part"]["type"] == "audio" else {"text"}
        self._need(part["seen"] == ended, "a content part is done before its sound and text")
        part["seen"].add("part")

    def _response_output_item_done(self, e: dict[str, Any]) -> None:
        answer = self._of_response(e)
        self._need(e["output_index"] in answer.open, "an item is done that is not open")
        part = answer.open.pop(e["output_index"])
        item = e["item"]
        self._need(answer.aside or item["id"] in self._items, "done before item.added")
        if item["type"] == "message":
            self._need("part" in part["seen"], "an item is done before its content part")
            kept = item["content"][0].get("transcript", item["content"][0].get("text"))
            whole = item["status"] == "completed"
            fits = part["text"] == kept if whole else part["text"].startswith(kept)
            self._need(fits, "the item is not what was told of it")
        elif item["type"] in ("function_call", "mcp_call"):
            self._need(part["text"] == item["arguments"], "the call is not its deltas")
            self._need("text" in part["seen"], "a call is done before its arguments")
        if item["type"] == "mcp_call":
            self._need(not answer.aside, "an answer out of band calls no tools of servers")
            state = "broken" if item["status"] == "incomplete" else "made"
            self._calls[item["id"]] = Call(e["response_id"], e["output_index"], state)
        answer.closed[e["output_index"]] = item["id"]

    def _response_done(self, e: dict[str, Any]) -> None:
        response = e["response"]
        answer = self._answers.pop(response["id"], None)
        self._need(answer is not None, "a response is done that is not open")
        assert answer is not None
        self._need(not answer.open, "a response is done with items open")
        done = [item["id"] for item in response["output"]]
        in_order = [answer.closed[at] for at in sorted(answer.closed)]
        self._need(done == in_order, "its output is not its items in their order")
        whole = self._whole.union(
            self._calls
        )  # tools may run longer than the response that called them
        self._need(answer.aside or whole.issuperset(done), "a response is done before its items")
        self._need(response["usage"] is not None, "a response without usage")
        self._need(response["status"] != "in_progress", "a response is done in progress")
