"""What the operator's settings become in a session of each dialect."""

import json
from pathlib import Path

import pytest

from duologue import settings
from duologue.app import doors
from duologue.transports.admission import Visitor
from duologue.wire.choosing import BETA, GA, UNMUTE, Choice

NOWHERE = Path("no-such-file.toml")


@pytest.mark.parametrize("dialect", [GA, BETA, UNMUTE])
def test_every_dialect_begins_as_the_operator_wants(dialect: str) -> None:
    chosen = {
        "turns": "patient",
        "max_turn_ms": 30_000,
        "filler": "Wait.",
        "hang_up": True,
        "greeting": "Hello.",
        "echo": "off",
    }
    loaded = settings.load(chosen, NOWHERE)
    options = doors.dialects(loaded)[dialect]("sess_1", Choice(dialect), Visitor()).options()
    manners = (options.filler, options.hang_up, options.greeting, options.echo)
    assert manners == ("Wait.", True, "Hello.", "off")
    assert options.turn.max_turn_ms == 30_000


def test_what_a_key_is_made_for_is_shown_as_it_will_be() -> None:
    shown = doors.effective_session(settings.load({"turns": "snappy"}, NOWHERE), {})
    assert shown["audio"]["input"]["turn_detection"]["eagerness"] == "high"
    assert "greeting" not in json.dumps(shown)
