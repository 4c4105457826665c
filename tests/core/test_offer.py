"""What a model may call, and whose it is."""

from duologue.core.offer import Offer, make_offer
from duologue.core.options import ReplyOptions, Tool
from duologue.core.tool_servers import ListedTool, ToolFilter, ToolServer

MINE = Tool("look", "the client's", {})
ONE = ToolServer("one", "https://one.org")
TWO = ToolServer("two", "https://two.org", description="Second-hand.")
LISTED = [
    (ONE, [ListedTool("look", "one's", {}), ListedTool("dig.up", "one's", {"a": 1})]),
    (TWO, [ListedTool("dig_up", "two's", {}), ListedTool("bury", "two's", {})]),
]


def owners(offer: Offer) -> dict[str, str]:
    return {name: target.server.label for name, target in offer.targets.items()}


def test_the_clients_function_wins_and_then_the_first_server() -> None:
    offer = make_offer(ReplyOptions(tools=(MINE,)), LISTED)
    assert [tool.name for tool in offer.tools] == ["look", "dig_up", "bury"]
    assert offer.tools[0] is MINE
    assert owners(offer) == {"dig_up": "one", "bury": "two"}
    assert offer.targets["dig_up"].tool.name == "dig.up"
    assert offer.tools[1] == Tool("dig_up", "one's", {"a": 1})
    assert offer.tools[2].description == "two's\nSecond-hand."
    assert offer.choice == "auto"


def test_what_the_client_does_not_allow_is_not_offered_and_takes_no_name() -> None:
    shy = ToolServer("one", "https://one.org", allowed=ToolFilter(frozenset({"look"})))
    offer = make_offer(ReplyOptions(), [(shy, LISTED[0][1]), LISTED[1]])
    assert owners(offer) == {"look": "one", "dig_up": "two", "bury": "two"}


def test_a_choice_of_a_server_leaves_its_tools_only() -> None:
    chosen = ReplyOptions(tools=(MINE,), tool_choice="required", choice_server="one")
    offer = make_offer(chosen, LISTED)
    assert (owners(offer), offer.choice) == ({"look": "one", "dig_up": "one"}, "required")
    assert len(offer.tools) == 2


def test_a_choice_of_a_servers_tool_is_of_that_server() -> None:
    for name, label, owner in (("dig.up", "one", "one"), ("dig_up", "two", "two")):
        offer = make_offer(ReplyOptions(tool_choice=name, choice_server=label), LISTED)
        assert (offer.choice, offer.targets["dig_up"].server.label) == ("dig_up", owner)


def test_a_choice_of_what_is_not_there_is_the_models() -> None:
    for name, label in (("bury", "one"), ("required", "three"), ("required", "empty")):
        options = ReplyOptions(tools=(MINE,), tool_choice=name, choice_server=label)
        offer = make_offer(options, [*LISTED, (ToolServer("empty", "https://x.org"), [])])
        assert (offer.choice, len(offer.tools)) == ("auto", 3)


def test_other_choices_stay() -> None:
    for choice in ("none", "required", "look"):
        assert make_offer(ReplyOptions(tool_choice=choice), LISTED).choice == choice
    assert make_offer(ReplyOptions(tools=(MINE,)), []) == Offer((MINE,))
