"""From an engine's name back to its place in the plan's sums."""

import pytest

from duologue.memory.footprints import CONTEXT_MIB
from duologue.memory.goals import Goal
from duologue.memory.known import CANDIDATES
from duologue.memory.machine import Machine
from duologue.memory.plan import plan
from duologue.memory.planned import on_card


@pytest.mark.parametrize("cards", ["4", "6", "8", "12", "24", "3x8"])
@pytest.mark.parametrize("sessions", [1, 4])
def test_each_engine_of_a_plan_is_found_again_with_what_was_planned_for_it(
    cards: str, sessions: int
) -> None:
    on_cards = [c for c in plan(Machine.parse(cards), Goal(sessions=sessions)).choices if c.gpu_mib]
    assert on_cards
    for choice in on_cards:
        found = on_card(choice.name, sessions)
        assert found is not None, choice.name
        assert found.gpu_mib == choice.gpu_mib, choice.name
        assert found.context_mib == CONTEXT_MIB
        assert found.kv_mib < found.gpu_mib


def test_a_model_is_known_by_its_folder_and_its_precision() -> None:
    full = on_card("whisper:/models/large-v3-turbo@cuda:1/float16")
    small = on_card("whisper:large-v3-turbo@cuda/int8_float16")
    unsaid = on_card("whisper:large-v3-turbo@cuda")
    assert full is not None
    assert small is not None
    assert full.gpu_mib > small.gpu_mib
    assert unsaid == full


def test_what_was_measured_counts() -> None:
    (candidate,) = (c for c in CANDIDATES if c.key == "stt:whisper:small@cuda/int8")
    plain = on_card("whisper:small@cuda/int8")
    other = next(c for c in CANDIDATES if c.key == "stt:whisper:large-v3-turbo@cuda/int8")
    more = on_card("whisper:small@cuda/int8", measured={candidate.key: other.footprint})
    assert plain is not None
    assert more is not None
    assert more.gpu_mib > plain.gpu_mib


@pytest.mark.parametrize(
    "name",
    ["whisper:small@cpu", "whisper:mine@cuda", "espeak", "nobody:x@cuda", "ws://h:9", "a:b@cuda?x"],
)
def test_what_has_no_card_or_is_not_known_has_no_plan(name: str) -> None:
    assert on_card(name) is None
