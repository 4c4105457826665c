"""Whatever a client sends, in whatever order: what it is sent back is legal, and the connection stays open.

Real connection, wire and session; scripted time and fake engines. The judge of the order is tested itself
on broken streams (tests/wire/test_judge.py).
"""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.scripted import ITEM_IDS, Event, Wire, connected


def message(text: str) -> st.SearchStrategy[Event]:
    """A typed item, with or without an id of the client's."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    return st.sampled_from([*ITEM_IDS[:2], None]).map(
        lambda name: item if name is None else {**item, "id": name}
    )


TOOL = {"type": "function", "name": "lamp", "description": "", "parameters": {}}
DETECTIONS: list[Any] = [
    None,
    {"type": "server_vad"},
    {"type": "server_vad", "idle_timeout_ms": 5_000, "silence_duration_ms": 200},
    {"type": "server_vad", "create_response": False},
    {"type": "server_vad", "interrupt_response": False},
    {"type": "semantic_vad", "eagerness": "high"},
]
FORMATS = [{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}]
UPDATES = st.one_of(
    st.sampled_from(DETECTIONS).map(lambda d: {"audio": {"input": {"turn_detection": d}}}),
    st.sampled_from(FORMATS).map(lambda f: {"audio": {"output": {"format": f}}}),
    st.sampled_from([["text"], ["audio"]]).map(lambda m: {"output_modalities": m}),
    st.just({"audio": {"input": {"transcription": {"model": "x"}}}}),
    st.just({"tools": [TOOL]}),
    st.sampled_from([{"audio": None}, {"audio": {"input": None}}, {"tools": None}, {"prompt": 5}]),
    st.just({"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}}),
    st.just({"tool_choice": "nonsense"}),
).map(lambda patch: {"type": "session.update", "session": {"type": "realtime", **patch}})
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none"]),
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "input": st.lists(
            st.one_of(
                message("ahoy"),
                st.sampled_from(ITEM_IDS).map(lambda i: {"type": "item_reference", "id": i}),
            ),
            max_size=2,
        ),
        "metadata": st.just({"client_event_id": "7"}),
        "audio": st.sampled_from(FORMATS).map(lambda f: {"output": {"format": f}}),
    },
).map(lambda response: {"type": "response.create", "response": response})
COMMANDS = st.one_of(
    st.just({"type": "response.create"}),
    REQUESTS,
    UPDATES,
    st.just({"type": "input_audio_buffer.commit"}),
    st.just({"type": "input_audio_buffer.clear"}),
    st.just({"type": "output_audio_buffer.clear"}),
    st.sampled_from(["ahoy", "now call lamp"])
    .flatmap(message)
    .flatmap(
        lambda item: st.sampled_from([None, *ITEM_IDS]).map(
            lambda after: {
                "type": "conversation.item.create",
                "item": item,
                **({} if after is None else {"previous_item_id": after}),
            }
        )
    ),
    st.just(
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c", "output": "lit"},
        }
    ),
)
ABOUT_ITEMS = st.tuples(
    st.sampled_from(["delete", "retrieve", "truncate"]),
    st.integers(-3, 3),
    st.integers(-1, 40_000),
)
NONSENSE = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "item", "session", "audio"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [
            b'{"type": "input_audio_buffer.append", "audio": "AAA"}',
            b'{"type": "conversation.item.truncate"}',
            b'{"type": "session.update", "session": {"audio": {"input": 5}}}',
            b'{"type": "response.create", "response": {"input": [{"type": "item_reference"}]}}',
        ]
    ),
)
CALL: list[Event] = [
    {"type": "session.update", "session": {"type": "realtime", "tools": [TOOL]}},
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "now call lamp"}],
        },
    },
    {"type": "response.create"},
]
STEPS = st.one_of(
    st.tuples(st.just("ask"), COMMANDS),
    st.tuples(st.just("ask"), COMMANDS),
    st.tuples(st.just("ask all"), st.just(CALL)),
    st.tuples(st.just("ask"), st.just({"type": "response.create"})),
    st.tuples(st.just("speak"), st.sampled_from([200, 500, 1_200])),
    st.tuples(st.just("quiet"), st.sampled_from([400, 900, 6_000])),
    st.tuples(st.just("speak"), st.sampled_from([60, 200, 500, 1_200])),
    st.tuples(st.just("quiet"), st.sampled_from([100, 400, 900, 6_000])),
    st.tuples(st.just("muted"), st.sampled_from([300, 1_500])),
    st.tuples(st.just("about"), ABOUT_ITEMS),
    st.tuples(st.just("cancel"), st.integers(-2, 2)),
    st.tuples(st.just("nonsense"), NONSENSE),
    st.tuples(st.just("binary"), st.binary(max_size=20)),
)


async def play(steps: list[tuple[str, Any]], *, fail: float) -> Wire:
    broken = f"fail={fail},seed=3"
    engines = {
        "stt": FakeStt(broken),
        "tts": FakeTts(f"tts_s=2,{broken}"),
        "llm": FakeLlm(broken),
    }
    dialect = RealtimeWire(SessionDocument("s", "m", "i"))
    async with connected(dialect, **engines) as (client, wire):
        for kind, what in steps:
            await client.act(kind, what)
        for _ in range(20):  # whatever is still being said is said to its end
            await client.act("quiet", 400)
    return wire


@settings(max_examples=80)
@given(st.lists(STEPS, min_size=6, max_size=30), st.sampled_from([0.0, 0.0, 0.3]))
def test_any_sequence_of_events_is_answered_legally(
    steps: list[tuple[str, Any]], fail: float
) -> None:
    asyncio.run(play(steps, fail=fail))


def test_after_all_of_it_the_next_utterance_is_heard() -> None:
    """The walk's own check: what it sends does make turns."""
    steps: list[tuple[str, Any]] = [("speak", 500), ("quiet", 900), ("speak", 500), ("quiet", 900)]
    wire = asyncio.run(play(steps, fail=0.0))
    kinds = wire.referee.types()
    assert kinds.count("input_audio_buffer.committed") == 2
    assert kinds.count("response.done") == 2
