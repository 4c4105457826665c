"""Sound in every format that a client may ask for, both ways."""

import base64
import json
from typing import Any

import av
import numpy as np
import pytest

from duologue.core.audio import AudioFormat
from duologue.core.notices import ReplyBegan, ReplyEnded, ReplyState
from duologue.core.options import ReplyOptions
from duologue.wire import g711
from duologue.wire.dialect import Binary
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.judge import server_events

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype("<i2")


def wire(**audio: Any) -> RealtimeWire:
    """A connection whose sound has these formats ({"input": …, "output": …})."""
    made = RealtimeWire(SessionDocument("s", "m", "i"))
    sides = {side: {"format": fmt} for side, fmt in audio.items()}
    steps = send(made, {"type": "session.update", "session": {"type": "realtime", "audio": sides}})
    if audio:
        assert json.loads(steps[1])["type"] == "session.updated", steps
    return made


def send(made: RealtimeWire, event: dict[str, Any]) -> list[Any]:
    return list(made.receive(json.dumps(event).encode()))


def append(sound: bytes) -> bytes:
    audio = base64.b64encode(sound).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio}).encode()


def by_ffmpeg(codec: str, pcm: "np.ndarray[Any, np.dtype[np.int16]]") -> tuple[bytes, bytes]:
    """What ffmpeg makes of these samples: its codes, and its samples of those codes."""
    coder: Any = av.CodecContext.create(codec, "w")
    coder.sample_rate, coder.layout, coder.format = 8_000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8_000
    codes = b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])
    reader: Any = av.CodecContext.create(codec, "r")
    reader.sample_rate, reader.layout = 8_000, "mono"
    decoded = [f.to_ndarray() for f in reader.decode(av.Packet(codes))]
    return codes, np.concatenate(decoded, axis=1).astype("<i2").tobytes()


@pytest.mark.parametrize(("law", "codec"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")])
def test_g711_is_the_one_that_everybody_has(law: Any, codec: str) -> None:
    codes, samples = by_ffmpeg(codec, EVERY_SAMPLE)
    assert g711.decode(codes, law) == samples
    ours = np.frombuffer(g711.decode(g711.encode(EVERY_SAMPLE.tobytes(), law), law), "<i2")
    theirs = np.frombuffer(samples, "<i2")
    truth = EVERY_SAMPLE.astype(np.int32)
    assert (abs(ours - truth) <= abs(theirs - truth)).all()  # never further off than ffmpeg
    assert {g711.encode(g711.decode(bytes([c]), law), law) for c in range(256)} >= {b"\x00"}


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_telephone_sound_goes_both_ways(law: Any) -> None:
    kind = {"type": f"audio/{law}"}
    w = wire(input=kind, output=kind)
    options = w.document.options()
    assert options.input_format == options.reply.format == AudioFormat(8_000, law)
    tone = (np.sin(np.arange(800) / 8) * 9_000).astype("<i2").tobytes()
    codes = g711.encode(tone, law)
    assert w.sound(append(codes[:159])) == g711.decode(codes[:159], law)  # any length
    reply = ReplyState("r1", options.reply)
    list(w.encode(ReplyBegan(reply)))
    (message,) = w.encode_sound("r1", 0, "i1", tone)
    event = server_events()["response.output_audio.delta"].model_validate(json.loads(message))
    assert base64.b64decode(event.delta) == codes  # type: ignore[attr-defined]


def test_an_echo_shows_telephone_sound_without_a_rate() -> None:
    w = wire(input={"type": "audio/pcmu", "rate": 8_000})
    assert w.document.json["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    back = wire(input={"type": "audio/pcm"})
    assert back.document.json["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}


def test_a_format_of_one_answer_is_that_answers_alone() -> None:
    w = wire()
    (made,) = send(
        w,
        {
            "type": "response.create",
            "response": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
        },
    )
    assert made.options.format == AudioFormat(8_000, "pcmu")
    assert w.document.options().reply.format == AudioFormat(24_000)
    (created,) = w.encode(ReplyBegan(ReplyState("r1", made.options)))
    shown = json.loads(created)["response"]["audio"]["output"]["format"]
    assert shown == {"type": "audio/pcmu"}


OPUS = {"type": "audio/opus"}


def test_opus_goes_in_binary_messages_once_it_is_asked_for() -> None:
    w = wire(input=OPUS, output=OPUS)
    reply = ReplyState("r1", w.document.options().reply)
    list(w.encode(ReplyBegan(reply)))
    tone = (np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000) * 9_000).astype("<i2")
    packets: list[bytes] = []
    for at in range(0, 24_000, 480):
        packets += w.encode_sound("r1", 0, "i1", tone[at : at + 480].tobytes())
    assert {type(p) for p in packets} == {Binary}
    assert len(packets) == 50
    assert sum(map(len, packets)) < 8_000  # a second of PCM in base64 takes 64 000
    back = np.frombuffer(b"".join(w.binary(bytes(p)) for p in packets), "<i2").astype(float)
    assert 23_900 < len(back) <= 24_000
    loud = np.sqrt((back[4_800:] ** 2).mean()) / np.sqrt((tone.astype(float) ** 2).mean())
    assert abs(20 * np.log10(loud)) < 1
    assert w.sound(append(bytes(packets[30]))) is not None  # or in an append, a packet each


def test_an_answer_out_of_band_is_never_binary() -> None:
    w = wire(output=OPUS)
    options = ReplyOptions(out_of_band=True, format=AudioFormat(24_000, "opus"))
    list(w.encode(ReplyBegan(ReplyState("r2", options))))
    (message,) = w.encode_sound("r2", 0, "i1", bytes(960))
    assert json.loads(message)["type"] == "response.output_audio.delta"


def test_nothing_is_kept_of_an_answer_that_is_over() -> None:
    w = wire(output={"type": "audio/pcma"})
    reply = ReplyState("r1", w.document.options().reply)
    list(w.encode(ReplyBegan(reply)))
    list(w.encode(ReplyEnded(reply)))
    assert not w._voices


@pytest.mark.parametrize(
    ("fmt", "param"),
    [
        ({"type": "audio/mp3"}, "session.audio.input.format.type"),
        ({"type": "audio/pcmu", "rate": 24_000}, "session.audio.input.format.rate"),
        ({"type": "audio/opus", "rate": 11_025}, "session.audio.input.format.rate"),
    ],
)
def test_a_format_that_is_none_is_named_and_changes_nothing(
    fmt: dict[str, Any], param: str
) -> None:
    w = wire()
    update = {"type": "realtime", "audio": {"input": {"format": fmt}}}
    (answer,) = send(w, {"type": "session.update", "session": update})
    error = json.loads(answer)["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert w.sound(append(b"\1\0")) == b"\1\0"
