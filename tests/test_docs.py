"""Documents that are drawn from the code must not drift from it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tools import draw

from duologue.core import endpointing, presets
from duologue.core.wording import Wording

ROOT = Path(__file__).parent.parent


def test_turn_taking_is_as_drawn() -> None:
    assert draw.TARGET.read_text(encoding="utf-8") == draw.document(), "run `make docs`"


def test_nothing_of_it_is_left_to_be_drawn() -> None:
    left = re.findall(r"<!-- draw[^>]*>|@\w+@", draw.document())
    assert not left


def test_it_follows_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw.document()
    slower = replace(presets.PRESETS["balanced"], barge_in_ms=777)
    monkeypatch.setattr(presets, "PRESETS", {**presets.PRESETS, "balanced": slower})
    assert "777 ms" not in before
    assert "777 ms" in draw.document()


@pytest.mark.parametrize("name", ["BASE", "SHORT", "WENT_ON", "FALL_PER_DB", "SINKING", "ACOUSTIC"])
def test_it_follows_the_weights(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = draw.document()
    monkeypatch.setattr(endpointing, name, 0.777)
    assert "0.777" not in before
    assert "0.777" in draw.document()


def test_it_follows_the_weights_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {**endpointing.WORDING, Wording.TRAILING: -7.77}
    monkeypatch.setattr(endpointing, "WORDING", weights)
    assert "| -7.77 |" in draw.document()


def test_what_nobody_draws_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = tmp_path / "written.md"
    written.write_text("<!-- draw: moon -->")
    monkeypatch.setattr(draw, "WRITTEN", written)
    with pytest.raises(KeyError, match="moon"):
        draw.document()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["architecture.md", "adr/README.md"])
def test_every_room_and_every_decision_is_listed(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    if name == "architecture.md":
        rooms = [p.name for p in (ROOT / "src/duologue").iterdir() if (p / "__init__.py").exists()]
    else:
        rooms = [p.stem for p in (ROOT / "docs/adr").glob("0*.md")]
    missing = [room for room in rooms if room not in text]
    assert not missing


def test_every_make_target_that_a_document_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")))
        assert named <= targets, f"{page.name}: {named - targets}"
