"""Which ways to run a model are in question."""

import pytest

from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.engines.torchkit.precision import Precision
from duologue.engines.torchkit.ways import Asked, Way, ways

CPU = Precision("fp32", "the CPU's own", ("int8", "bf16"))


def names(choice: Precision, argument: str) -> list[str]:
    return [way.name for way in ways(choice, Asked.of(Placement.parse(argument)))]


def test_the_plain_way_is_first_and_the_other_attention_last() -> None:
    assert names(CPU, "m@cpu") == ["fp32 sdpa", "int8 sdpa", "bf16 sdpa", "fp32 eager"]
    assert ways(CPU, Asked())[0] == Way("fp32", "sdpa")


def test_where_no_precision_is_a_rival_attention_is_still_in_question() -> None:
    assert names(Precision("fp16", "capability 7.5"), "m") == ["fp16 sdpa", "fp16 eager"]


def test_who_asks_for_a_precision_or_no_contest_gets_the_plain_way() -> None:
    assert names(CPU, "m@cpu?contest=off") == ["fp32 sdpa"]
    assert names(CPU, "m@cpu?contest=off&attention=eager") == ["fp32 eager"]
    assert names(Precision("int8", "asked for"), "m@cpu/int8") == ["int8 sdpa"]
    assert names(Precision("int8", "asked for"), "m@cpu/int8?contest=on") == ["int8 sdpa"]


def test_who_asks_for_an_attention_gets_it_in_the_fastest_precision() -> None:
    assert names(CPU, "m@cpu?attention=eager") == ["fp32 eager", "int8 eager", "bf16 eager"]
    assert names(CPU, "m@cpu?attention=sdpa") == ["fp32 sdpa", "int8 sdpa", "bf16 sdpa"]


@pytest.mark.parametrize("option", ["contest=maybe", "attention=flash"])
def test_an_option_that_makes_no_sense_is_refused(option: str) -> None:
    with pytest.raises(SetupError) as caught:
        Asked.of(Placement.parse(f"m?{option}"))
    assert caught.value.code == "torch_option_invalid"
