"""docs/realtime.md names every event of the `openai` package, and says of each what is true."""

import re
from pathlib import Path

import pytest

from duologue.wire.validation import client_events
from tests.support.judge import server_events

ROOT = Path(__file__).parents[2]
GOLDEN = [p.read_text(encoding="utf-8") for p in (ROOT / "tests/transports/golden").glob("*.txt")]
TESTS = [
    p.read_text(encoding="utf-8")
    for p in (ROOT / "tests").rglob("test_*.py")
    if p != Path(__file__)
]


def table(heading: str) -> dict[str, str]:
    """Event -> the second column, of the table under a heading."""
    page = (ROOT / "docs/realtime.md").read_text(encoding="utf-8")
    part = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z_.]+)` \| (\w+) \|", part, re.MULTILINE))


def test_every_client_event_is_decided() -> None:
    assert sorted(table("What a client may send")) == sorted(client_events())


def test_every_server_event_is_decided() -> None:
    assert sorted(table("What a client is sent")) == sorted(server_events())


@pytest.mark.parametrize(("event", "verdict"), table("What a client is sent").items())
def test_what_is_said_to_be_sent_is_seen_in_some_test_and_the_rest_in_none(
    event: str, verdict: str
) -> None:
    seen = any(f'"type": "{event}"' in scene for scene in GOLDEN)
    if verdict == "no":
        assert not seen
    else:
        assert verdict in ("yes", "WebRTC")
        assert seen or any(f'"{event}"' in test for test in TESTS)
