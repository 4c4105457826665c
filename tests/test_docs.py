"""Documents that are drawn from the code must not drift from it."""

import re
from pathlib import Path

import pytest
from tools import draw

ROOT = Path(__file__).parent.parent


def test_turn_taking_is_as_drawn() -> None:
    assert draw.TARGET.read_text(encoding="utf-8") == draw.document(), "run `make docs`"


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
