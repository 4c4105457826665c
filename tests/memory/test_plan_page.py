"""docs/memory.md shows what the planner plans."""

import re

import pytest
from tools import memory_table

from duologue.memory import options


def test_the_tables_are_as_planned() -> None:
    written = memory_table.TARGET.read_text(encoding="utf-8")
    assert written == memory_table.document(), "run `python -m tools.memory_table`"


def test_every_place_of_the_page_is_drawn() -> None:
    text = memory_table.document()
    begun, ended = re.findall(r"<!-- drawn: (\w+) -->", text), text.count("<!-- end -->")
    assert set(begun) == {"machines", "four_sessions", "profiles", "account", "ladder"}
    assert len(begun) == ended


def test_they_follow_the_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory_table.document()
    monkeypatch.setattr(options, "HEADROOM", 0.5)
    assert memory_table.document() != before
