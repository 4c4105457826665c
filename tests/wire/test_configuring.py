"""What a session object cannot say: the operator's defaults, and `duologue.configure` over them."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from duologue.core.commands import SetOptions
from duologue.core.options import SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.core.presets import PRESETS
from duologue.settings import Settings
from duologue.wire.beta import BetaWire
from duologue.wire.configuring import Configure, Defaults
from duologue.wire.extension import Extended
from duologue.wire.realtime import RealtimeWire
from duologue.wire.realtime_webrtc import OverWebRtc
from duologue.wire.session_document import SessionDocument
from duologue.wire.unmute import UnmuteOrGa
from duologue.wire.validation import check

Event = dict[str, Any]
RUDE = Defaults(
    max_turn_ms=30_000, filler="Wait.", hang_up=True, greeting="Hello.", echo="half_duplex"
)


def document(defaults: Defaults = Defaults(), **how: Any) -> SessionDocument:  # noqa: B008
    return SessionDocument("sess_1", "duologue", "", defaults=defaults, **how)


def extended(defaults: Defaults = Defaults()) -> Extended:  # noqa: B008
    return Extended(RealtimeWire(document(defaults)))


def configure(wire: Any, **fields: Any) -> tuple[SessionOptions, Event]:
    """What it asks of the session, and what the client is told."""
    asked, told = wire.receive(json.dumps({"type": "duologue.configure", **fields}).encode())
    assert isinstance(asked, SetOptions)
    event = json.loads(told)
    assert event.pop("type") == "duologue.configured"
    assert event.pop("event_id")
    return asked.options, event


def update(wire: Any, detection: Event | None) -> TurnPolicy:
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    asked, _ = wire.receive(json.dumps({"type": "session.update", "session": session}).encode())
    assert isinstance(asked, SetOptions)
    return asked.options.turn


# --- what the protocol's own fields mean ---
@pytest.mark.parametrize(
    ("eagerness", "preset"),
    [("low", "patient"), ("medium", "balanced"), ("auto", "balanced"), ("high", "snappy")],
)
def test_eagerness_is_a_preset(eagerness: str, preset: str) -> None:
    turn = update(RealtimeWire(document()), {"type": "semantic_vad", "eagerness": eagerness})
    assert turn == PRESETS[preset]
    silent = {"type": "semantic_vad", "eagerness": eagerness, "interrupt_response": False}
    turn = update(RealtimeWire(document()), {**silent, "create_response": False})
    assert turn == replace(PRESETS[preset], interrupt_response=False, create_response=False)


def test_server_vad_is_a_plain_silence() -> None:
    turn = update(RealtimeWire(document()), {"type": "server_vad", "silence_duration_ms": 640})
    assert turn == TurnPolicy(silence_ms=640)


# --- the operator's ---
@pytest.mark.parametrize(
    ("preset", "eagerness"), [("patient", "low"), ("balanced", "medium"), ("snappy", "high")]
)
def test_an_operator_chooses_how_sessions_begin_and_they_say_so(
    preset: Any, eagerness: str
) -> None:
    made = document(Defaults(turns=preset))
    shown = made.json["audio"]["input"]["turn_detection"]
    assert (shown["type"], shown["eagerness"]) == ("semantic_vad", eagerness)
    assert made.options().turn == PRESETS[preset]
    check({"type": "session.update", "session": {**made.json, "type": "realtime"}})
    fixed = update(RealtimeWire(made), {"type": "server_vad"})  # a client that says otherwise
    assert fixed == TurnPolicy(silence_ms=500)
    assert document().json["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    listening = document(Defaults(turns=preset), transcribes=True)
    assert listening.json["audio"]["input"]["turn_detection"]["eagerness"] == eagerness


@pytest.mark.parametrize("dialect", [RealtimeWire, BetaWire])
def test_the_operators_manners_hold_in_every_dialect(dialect: Any) -> None:
    made = document(RUDE)
    for wire in (dialect(made), UnmuteOrGa(RealtimeWire(made)), OverWebRtc(dialect(made))):
        options = wire.options()
        manners = (options.filler, options.hang_up, options.greeting, options.echo)
        assert manners == ("Wait.", True, "Hello.", "half_duplex")
        assert options.turn.max_turn_ms == 30_000
    assert "Hello." not in json.dumps(made.json)
    turn = update(dialect(made), {"type": "semantic_vad", "eagerness": "low"})
    assert turn.max_turn_ms == 30_000


# --- a client's ---
def test_all_of_it_is_told_and_only_what_is_said_is_changed() -> None:
    wire = extended()
    nothing = {
        "turns": None,
        "max_turn_ms": TurnPolicy().max_turn_ms,
        "idle_timeout_ms": None,
        "filler": "",
        "hang_up": False,
        "greeting": "",
        "echo": "auto",
    }
    assert configure(wire, event_id="mine", more="ignored") == (wire.options(), nothing)
    options, told = configure(wire, hang_up=True, filler="Wait.")
    assert told == {**nothing, "hang_up": True, "filler": "Wait."}
    assert (options.hang_up, options.filler) == (True, "Wait.")
    options, told = configure(wire, max_turn_ms=5_000, echo="off", filler="")
    assert told == {**nothing, "hang_up": True, "max_turn_ms": 5_000, "echo": "off"}
    assert (options.turn.max_turn_ms, options.echo, options.hang_up) == (5_000, "off", True)
    assert wire.options() == options


def test_a_preset_prevails_until_it_is_taken_back() -> None:
    wire = extended()
    update(wire, {"type": "server_vad", "silence_duration_ms": 700, "create_response": False})
    options, told = configure(wire, turns="snappy")
    assert told["turns"] == "snappy"
    assert options.turn == replace(PRESETS["snappy"], create_response=False)
    turn = update(wire, {"type": "server_vad", "silence_duration_ms": 900, "threshold": 0.7})
    assert turn == replace(PRESETS["snappy"], create_response=False)
    assert wire.options().speech.threshold == 0.7
    options, told = configure(wire, turns=None)
    assert told["turns"] is None
    assert options.turn == TurnPolicy(silence_ms=900, create_response=False)


def test_the_operators_limit_holds_in_every_preset() -> None:
    for preset in PRESETS:
        assert configure(extended(RUDE), turns=preset)[1]["max_turn_ms"] == 30_000


def test_who_pushes_to_talk_is_not_listened_for() -> None:
    wire = extended()
    before = update(wire, None)
    options, _ = configure(wire, turns="patient", idle_timeout_ms=6_000)
    assert options.turn == before
    assert update(wire, {"type": "server_vad"}).silence_ms == PRESETS["patient"].silence_ms


def test_idleness_is_there_for_semantic_vad_too() -> None:
    wire = extended()
    update(wire, {"type": "semantic_vad"})
    options, told = configure(wire, idle_timeout_ms=6_000)
    assert (options.turn.idle_ms, told["idle_timeout_ms"]) == (6_000, 6_000)
    assert configure(wire, idle_timeout_ms=None)[0].turn.idle_ms is None
    update(wire, {"type": "server_vad", "idle_timeout_ms": 7_000})
    assert configure(wire)[1]["idle_timeout_ms"] == 7_000


def test_null_is_the_operators_word() -> None:
    wire = extended(RUDE)
    before = configure(wire)[1]
    assert before["greeting"] == "Hello."
    said = {"max_turn_ms": 2_000, "filler": "", "hang_up": False, "greeting": "", "echo": "off"}
    assert configure(wire, **said)[1] == {**before, **said}
    assert configure(wire, **dict.fromkeys(said))[1] == before


def test_what_is_refused_changes_nothing() -> None:
    wire = extended()
    before = wire.options()
    (error,) = wire.receive(b'{"type": "duologue.configure", "hang_up": true, "turns": "x"}')
    assert isinstance(error, bytes)
    assert wire.options() == before


def test_over_webrtc_sound_stays_on_its_tracks() -> None:
    options, _ = configure(OverWebRtc(extended()), hang_up=True)
    assert (options.input_format.rate_hz, options.hang_up) == (48_000, True)


def test_a_goodbye_says_why() -> None:
    event = json.loads(extended().goodbye("hang_up"))
    assert (event["type"], event["reason"]) == ("duologue.goodbye", "hang_up")


def test_the_page_names_all_of_it() -> None:
    page = (Path(__file__).parents[2] / "docs/extension.md").read_text(encoding="utf-8")
    part = page.split("## How a session behaves\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\|", part, re.MULTILINE)
    assert {name for name, _ in rows} == {*Configure.__struct_fields__} - {"event_id"}
    assert {setting for _, setting in rows if setting} == {f.name for f in fields(Defaults)}
    assert {f.name for f in fields(Defaults)} <= {*Settings.__struct_fields__}
    for setting in fields(Defaults):
        assert getattr(Settings(), setting.name) == setting.default
