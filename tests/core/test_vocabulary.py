"""The words of the house: plain values that can be kept, compared and replayed."""

import dataclasses
import inspect
from types import ModuleType
from typing import get_args

import pytest

from duologue.core import capabilities, commands, conversation, facts, notices, options, policy
from duologue.core.audio import Ms
from duologue.core.commands import AnyCommand, Command
from duologue.core.facts import AnyFact, Fact, Order
from duologue.core.notices import Notice
from duologue.core.options import SessionOptions

ROOMS = (capabilities, commands, conversation, facts, notices, options, policy)


def values(room: ModuleType) -> list[type]:
    return [
        thing
        for _, thing in inspect.getmembers(room, inspect.isclass)
        if dataclasses.is_dataclass(thing) and thing.__module__ == room.__name__
    ]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.rsplit(".", 1)[-1])
def test_words_are_frozen_small_and_explained(room: ModuleType) -> None:
    found = values(room)
    assert found
    for word in found:
        assert word.__dataclass_params__.frozen, word  # type: ignore[attr-defined]
        assert "__slots__" in vars(word), word
        assert word.__doc__, word
        assert not word.__doc__.startswith(f"{word.__name__}("), word


def test_no_word_is_missing_from_its_union() -> None:
    assert set(get_args(AnyFact)) == {k for k in values(facts) if issubclass(k, Fact)} - {Fact}
    assert set(get_args(Order)) == {k for k in values(facts) if not issubclass(k, Fact)}
    assert set(get_args(AnyCommand)) == set(values(commands)) - {Command}
    told = {k for k in values(notices) if k.__name__ not in ("Usage", "ReplyState")}
    assert set(get_args(Notice)) == told


def test_every_fact_has_its_time_and_every_command_its_ask() -> None:
    for fact in get_args(AnyFact):
        assert dataclasses.fields(fact)[0].name == "at"
    for command in get_args(AnyCommand):
        assert dataclasses.fields(command)[0].name == "ask"
    assert facts.Tick(Ms(5)) == facts.Tick(Ms(5))


def test_times_carry_their_unit() -> None:
    """A number of time has its unit in its name; positions on the clock are of the type Ms."""
    for room in ROOMS:
        for word in values(room):
            for field in dataclasses.fields(word):
                if field.type is int and ("padding" in field.name or "silence" in field.name):
                    assert field.name.endswith("_ms")


def test_defaults_are_the_protocols() -> None:
    made = SessionOptions()
    assert (made.input_format.rate_hz, made.prefix_padding_ms) == (24_000, 300)
    assert (made.turn.silence_ms, made.speech.threshold) == (500, 0.5)
    assert made.reply.spoken
    assert capabilities.Capabilities().languages == ("*",)
