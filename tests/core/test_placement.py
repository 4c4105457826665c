import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import SetupError
from duologue.core.placement import Placement

MODELS = st.sampled_from(["", "small", "large-v3-turbo", "/m/x", "~/x", "org/name", "a@b"])
OPTIONS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "0.9", "x/y"])))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Placement("")),
        ("small", Placement("small")),
        ("small@cpu", Placement("small", "cpu")),
        ("small@cpu:4", Placement("small", "cpu", 4)),
        ("/models/x@cuda:0/int8_float16", Placement("/models/x", "cuda", 0, "int8_float16")),
        ("x@mps/fp16", Placement("x", "mps", None, "fp16")),
        ("x@auto/int8", Placement("x", "", None, "int8")),
        ("org/name", Placement("org/name")),
        ("x?a=1&b=c=d", Placement("x", options=(("a", "1"), ("b", "c=d")))),
        ("x@cuda:1/bf16?t=0.9", Placement("x", "cuda", 1, "bf16", (("t", "0.9"),))),
    ],
)
def test_a_line_names_model_place_precision_and_options(text: str, meant: Placement) -> None:
    assert Placement.parse(text) == meant


@given(
    MODELS,
    st.sampled_from(["", "cpu", "cuda", "mps"]),
    st.none() | st.integers(1, 9),
    st.sampled_from(["", "int8", "fp16"]),
    OPTIONS,
)
def test_what_is_written_is_read_again(
    model: str, device: str, number: int | None, precision: str, options: list[tuple[str, str]]
) -> None:
    number = number if device else None
    place = Placement(model, device, number, precision, tuple(options))  # type: ignore[arg-type]
    assert Placement.parse(str(place)) == place


@pytest.mark.parametrize("text", ["x@cpu:0", "x?a", "x?=1"])
def test_a_line_that_cannot_be_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(SetupError) as raised:
        Placement.parse(text)
    assert "@cpu" in raised.value.remedy


def test_the_last_of_two_options_counts_and_a_place_can_be_given_another_model() -> None:
    place = Placement.parse("x@cuda:1/bf16?a=1&a=2")
    assert (place.option("a"), place.option("b", "3")) == ("2", "3")
    assert str(place.at("/y")) == "/y@cuda:1/bf16?a=1&a=2"
    assert [Placement(m).is_path for m in ("x", "/x", "./x", "~x", "o/x")] == [
        *(False, True, True, True, True)
    ]
