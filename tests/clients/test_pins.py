"""What the documents say was tried is what is installed, and the pins are free of anybody's addresses."""

import json
import re

import pytest

from tests.clients.environments import NODE, ROOT

DOCUMENT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def tried() -> dict[str, str]:
    """The versions in the document's table."""
    rows = re.findall(r"^\| `([^`]+)` (for JavaScript )?\| ([\d.]+)", DOCUMENT, re.MULTILINE)
    return {name.split("[")[0] + (" js" if js else ""): version for name, js, version in rows}


@pytest.mark.parametrize(
    ("pins", "package"),
    [
        ("agents", "openai-agents"),
        ("pipecat", "pipecat-ai"),
        ("livekit", "livekit-plugins-openai"),
    ],
)
def test_the_document_names_the_pinned_python_client(pins: str, package: str) -> None:
    text = (ROOT / "requirements" / f"client-{pins}.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
    assert found is not None
    assert tried()[package] == found[1]


def test_the_document_names_the_pinned_javascript_clients() -> None:
    lock = json.loads((NODE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert tried()["openai js"] == lock["node_modules/openai"]["version"]
    agents = lock["node_modules/@openai/agents-realtime"]["version"]
    assert tried()["@openai/agents-realtime"] == agents
    assert all("resolved" not in package for package in lock.values())
    assert all("integrity" in package for name, package in lock.items() if name)
