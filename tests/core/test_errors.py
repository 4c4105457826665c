import inspect
import pickle

import pytest

from duologue.core import errors
from duologue.core.errors import (
    ClientError,
    DuologueError,
    EngineLost,
    OurError,
    StateConflict,
    only_ours,
)

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DuologueError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_drawn_in_the_tree_and_names_a_culprit(kind: type[DuologueError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert kind.culprit in ("client", "engine", "operator", "us")


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_a_process_boundary(kind: type[DuologueError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a_code", "It broke.", remedy="Mend it.")))
    assert type(error) is kind
    assert (error.code, str(error)) == ("a_code", "It broke. Mend it.")


def test_a_message_without_a_remedy_reads_well() -> None:
    assert str(EngineLost("stt_lost", "The recogniser died.")) == "The recogniser died."


def test_client_errors_point_at_what_was_wrong() -> None:
    error = StateConflict("c", "m", param="item_id", event_id="e1")
    assert isinstance(error, ClientError)
    assert (error.param, error.event_id) == ("item_id", "e1")


def test_the_first_of_a_group_is_found_however_deep_it_lies() -> None:
    error = EngineLost("lost", "It died.")
    assert errors.first_of(ExceptionGroup("one", [error])) is error
    inner = ExceptionGroup("in", [error, errors.SetupError("other", "Other.")])
    assert errors.first_of(ExceptionGroup("out", [inner])) is error


def test_a_group_of_nothing_but_ours_is_told_by_its_first() -> None:
    first, second = OurError("a", "A."), OurError("b", "B.")
    assert only_ours(ExceptionGroup("", [ExceptionGroup("", [first]), second])) is first
    assert only_ours(first) is first
    assert only_ours(ValueError()) is None
    assert only_ours(ExceptionGroup("", [first, ValueError()])) is None
