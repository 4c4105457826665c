import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.capabilities import Capabilities
from duologue.core.errors import AtCapacity, EngineLost, MalformedEvent
from duologue.engines import pipe, piped
from duologue.ports import Final, SttOptions, TtsOptions, Word

MESSAGES: list[pipe.Message] = [
    pipe.Open(1, "s", SttOptions("en", ("tea", "milk")), None),
    pipe.Open(1, "s", SttOptions(task="translate", word_times=True), None),
    pipe.Open(2, "s", None, TtsOptions("slt", "en", 1.5)),
    pipe.Open(
        3, "s", SttOptions(), None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ),
    pipe.Opened(3),
    pipe.Sound(1, b"\1\2" * 500, 16_000),
    pipe.Text(2, 0, "héllo"),
    pipe.Finish(1, 7),
    pipe.Shut(1, True),
    pipe.Taken(1, 1),
    pipe.Ready(0, Capabilities(languages=("en",))),
    pipe.Took(1, 8),
    pipe.Guess(1, "maybe"),
    pipe.Finished(1, 7, 16_512, "surely"),
    pipe.Finished(1, 8, 16_512, "so so", (Word("so", 0, 90, -0.5), Word("so", 90, 200))),
    pipe.Finished(1, 9, 16_512, "你好", language="zh"),
    pipe.Speech(2, 0, b"\0\1", ((0.0, 0), (120.5, 6))),
    pipe.Failed(1, "EngineLost", "c", "m", "r"),
    pipe.Ended(1),
]


@given(st.lists(st.integers(1, 3000), max_size=20))
def test_any_cuts_of_the_stream_give_the_same_messages(cuts: list[int]) -> None:
    data = b"".join(pipe.frame(message) for message in MESSAGES)
    frames, at = pipe.Frames(), 0
    got: list[pipe.Message] = []
    for size in [*cuts, len(data)]:
        got += frames.push(data[at : at + size])
        at += size
    assert got == MESSAGES


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", b"\3\0\0\0abc"])
def test_what_is_not_our_wire_is_found_out(junk: bytes) -> None:
    with pytest.raises(EngineLost) as found:
        list(pipe.Frames().push(junk))
    assert found.value.code == "engine_garbled"


def test_errors_cross_and_only_engines_errors_come_back() -> None:
    full = pipe.revive(pipe.failure(1, AtCapacity("full", "Full.", remedy="Wait.")))
    assert isinstance(full, AtCapacity)
    assert (full.code, full.remedy) == ("full", "Wait.")
    assert isinstance(pipe.revive(pipe.failure(1, MalformedEvent("x", "y"))), EngineLost)
    assert isinstance(pipe.revive(pipe.Failed(1, "NoSuch", "x", "y", "")), EngineLost)


def test_a_detected_language_crosses_and_older_peers_are_understood_and_understand() -> None:
    final = Final(7, 512, "你好，世界", (), 0.5, "zh")
    told = pipe.told(1, final)
    assert pipe.decode(pipe.encode(told)) == told
    assert piped._final(told) == final  # type: ignore[arg-type]
    fields = msgspec.msgpack.decode(pipe.encode(told))
    older = pipe.decode(msgspec.msgpack.encode(fields[:-1]))
    assert piped._final(older) == Final(7, 512, "你好，世界", (), 0.5)  # type: ignore[arg-type]
    newer = pipe.decode(msgspec.msgpack.encode([*fields, "what comes next"]))
    assert newer == told
