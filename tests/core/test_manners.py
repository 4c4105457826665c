from dataclasses import replace

import pytest

from duologue.core.manners import HANG_UP, may_hang_up, with_hang_up
from duologue.core.options import ReplyOptions, Tool


def test_it_is_offered_beside_the_clients_functions() -> None:
    light = Tool("light", "Switches it.", {})
    options = with_hang_up(ReplyOptions(tools=(light,)))
    assert options.tools == (light, HANG_UP)
    assert may_hang_up(options)
    assert not may_hang_up(ReplyOptions(tools=(light,)))


@pytest.mark.parametrize(
    "options",
    [
        ReplyOptions(out_of_band=True),
        ReplyOptions(tool_choice="required"),
        ReplyOptions(tool_choice="none"),
        ReplyOptions(tool_choice="light"),
        ReplyOptions(tools=(Tool("hang_up", "The client's own.", {}),)),
        ReplyOptions(tools=(replace(HANG_UP),)),
    ],
)
def test_it_is_not_where_the_client_means_something_else(options: ReplyOptions) -> None:
    assert with_hang_up(options) is options
    assert not may_hang_up(options)
