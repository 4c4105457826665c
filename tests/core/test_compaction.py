"""The oldest part of a conversation is summed up: when, how much of it, and what is said of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.compaction import (
    BEGIN_AT,
    KEEP,
    MAX_LINE_CHARS,
    MAX_SENTENCE_CHARS,
    MAX_WORDS,
    REQUEST,
    SUMMARY,
    Errand,
    Summary,
    applies,
    due,
    unsummed,
)
from duologue.core.context import CHARS_PER_TOKEN, ITEM_TOKENS, Truncation, tokens
from duologue.core.conversation import (
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.tool_servers import CallError

LIMIT = 1_000


def said(number: int, size: int = 50, role: str = "") -> Message:
    """A message of so many tokens; the even ones are the user's."""
    role = role or ("user", "assistant")[number % 2]
    text = f"{number} " + "x" * ((size - ITEM_TOKENS) * CHARS_PER_TOKEN - len(f"{number} ."))
    return Message(f"m{number}", role, (Part("input_text", f"{text}."),))  # type: ignore[arg-type]


def talk(count: int, size: int = 50) -> list[Item]:
    return [said(n, size) for n in range(count)]


def errand(items: list[Item], summary: Summary | None = None, limit: int = LIMIT) -> Errand:
    found = due(items, summary, limit)
    assert found is not None
    return found


def made(**what: object) -> Errand:
    plain = Errand((), (), "", frozenset("a"), 400)
    return replace(plain, **what)  # type: ignore[arg-type]


# --- when, and how much ---
def test_only_what_the_client_left_to_us_is_compacted() -> None:
    assert applies(Truncation())
    assert not applies(Truncation("disabled"))
    assert not applies(Truncation(keep=0.8))
    assert not applies(Truncation(limit_tokens=500))


def test_nothing_is_due_before_three_quarters_are_taken() -> None:
    assert due(talk(15), None, LIMIT) is None
    assert due(talk(16), None, LIMIT) is not None
    assert due((), None, LIMIT) is None


def test_the_recent_turns_keep_their_share_and_begin_with_the_user() -> None:
    found = errand(talk(16))
    assert found.covers == {f"m{n}" for n in range(8)}  # 8 x 50 remain
    assert len(found.lines) == 8
    assert errand(talk(17)).covers == {f"m{n}" for n in range(8)}  # not 9: m9 is an answer


def test_what_the_system_said_stays_and_counts() -> None:
    items = [said(0, role="system"), *talk(16)[1:]]
    found = errand(items)
    assert found.covers == {f"m{n}" for n in range(1, 8)}
    much = [said(n, role="system") for n in range(13)]
    assert due([*much, *talk(30)[13:16]], None, LIMIT) is None  # there is too little else


def test_a_summary_counts_and_is_folded_into_the_next() -> None:
    earlier = Summary("y" * 240, frozenset(("m0", "m1", "gone")))
    assert 95 < earlier.tokens < 125
    assert due(talk(14), earlier, LIMIT) is None
    found = errand(talk(16), earlier)
    assert found.before == earlier.text
    assert found.covers == {f"m{n}" for n in range(8)}  # and nothing that is not there any more
    assert len(found.lines) == 6


def test_what_is_summed_up_is_not_shown_and_what_comes_between_later_is() -> None:
    items, earlier = talk(4), Summary("notes", frozenset(("m0", "m1")))
    late = said(9)
    assert unsummed([items[0], late, *items[1:]], earlier) == (late, *items[2:])
    assert unsummed(items, None) == tuple(items)


def test_a_call_and_its_result_stay_together() -> None:
    call, result = FunctionCall("c", "call_1", "f", "{}"), FunctionResult("r", "call_1", "z" * 60)
    items = talk(16)
    assert errand([*items[:7], call, *items[7:10], result, *items[10:]]).covers == {
        f"m{n}" for n in range(6)
    }
    assert "c" in errand([*items[:4], call, result, *items[4:]]).covers
    assert due([call, *items, result], None, LIMIT) is None  # it would part them wherever it cut
    assert due([*items, result, call], None, LIMIT) is None  # nobody knows what that is
    assert errand([*items, result]).covers  # the call left long ago


def test_where_the_user_has_not_spoken_for_long_the_cut_is_anywhere() -> None:
    items: list[Item] = [said(n, role="assistant") for n in range(16)]
    assert errand(items).covers == {f"m{n}" for n in range(8)}
    items[0] = said(0, role="user")
    assert errand(items).covers == {f"m{n}" for n in range(8)}
    assert due([said(0, 800, "assistant"), *items[12:]], None, LIMIT) is None  # all of it is recent


def test_a_long_past_is_summed_up_in_steps() -> None:
    items, summary = talk(200), None
    steps = 0
    while (found := due(items, summary, LIMIT)) is not None:
        assert sum(map(len, found.lines)) <= REQUEST * LIMIT * CHARS_PER_TOKEN
        summary, steps = found.extracted(), steps + 1
    assert steps == 16
    assert len(unsummed(items, summary)) == 8


def test_one_endless_item_is_quoted_from_its_beginning() -> None:
    monster = FunctionResult("r", "call_1", "z" * 100_000)
    found = errand([monster, *talk(12)])
    assert found.covers == {"r"}
    assert [len(line) for line in found.lines] == [int(REQUEST * LIMIT) * CHARS_PER_TOKEN]
    assert len(errand([monster, *talk(200)], None, 10_000).lines[0]) == MAX_LINE_CHARS


@given(
    st.lists(st.tuples(st.sampled_from("uasfr"), st.integers(ITEM_TOKENS + 3, 90)), max_size=80),
    st.integers(50, 2_000),
)
def test_whatever_was_said_it_ends_with_enough_of_it_and_nothing_torn(
    what: list[tuple[str, int]], limit: int
) -> None:
    items: list[Item] = []
    calls: list[str] = []
    for number, (kind, size) in enumerate(what):
        if kind == "f":
            items.append(FunctionCall(f"f{number}", f"call{number}", "f" * size, "{}"))
            calls.append(f"call{number}")
        elif kind == "r" and calls:
            items.append(FunctionResult(f"r{number}", calls.pop(0), "z" * size))
        else:
            role = {"u": "user", "s": "system"}.get(kind, "assistant")
            items.append(said(number, size, role))
    summary: Summary | None = None
    while (found := due(items, summary, limit)) is not None:
        before = summary.covers if summary is not None else frozenset[str]()
        assert before < found.covers
        summary = found.extracted()
        assert len(summary.text) <= found.limit_chars
    if summary is None:
        return
    rest = unsummed(items, summary)
    assert [item.id for item in items if item.id.startswith("m") and item not in rest] == [
        item.id
        for item in items
        if isinstance(item, Message) and item.id in summary.covers and item.role != "system"
    ]
    assert sum(map(tokens, rest)) >= KEEP * limit
    shown = {item.call_id for item in rest if isinstance(item, FunctionCall)}
    hidden = {i.call_id for i in items if isinstance(i, FunctionCall)} - shown
    assert not hidden & {item.call_id for item in rest if isinstance(item, FunctionResult)}


# --- what is asked for ---
def test_everything_is_quoted_under_whose_it_is() -> None:
    size = 100
    items: list[Item] = [
        Message("u", "user", (Part("input_audio", "I am\nAda."),)),
        Message("v", "user", (Part("input_audio", None),)),
        FunctionCall("f", "c1", "lamp", '{"on": true}'),
        FunctionResult("r", "c1", "done"),
        ServerCall("s", "shop", "find", "{}", "a chair"),
        ServerCall("t", "shop", "buy", "{}", None, CallError("http_error", "sold out")),
        ServerCall("w", "shop", "wait", "{}"),
        ToolList("l", "shop"),
        Message("a", "assistant", (Part("output_audio", "Hello, Ada."),)),
        *(said(n, size) for n in range(8)),
    ]
    found = errand(items, None, 800)
    assert found.lines[:7] == (
        "User: I am Ada.",
        'Assistant calls lamp({"on": true})',
        "Result: done",
        "Assistant calls find({}); result: a chair",
        "Assistant calls buy({}); result: sold out",
        "Assistant calls wait({}); result: ",
        "Assistant: Hello, Ada.",
    )
    assert found.said[0] == "I am\nAda."
    assert {"v", "l"} < found.covers


def test_the_question_holds_the_notes_and_the_words_and_the_rule() -> None:
    found = made(lines=("User: One.", "Assistant: Two."))
    assert found.question == "User: One.\nAssistant: Two."
    found = replace(found, before="Old.")
    assert (
        found.question == "Notes so far:\nOld.\n\nWhat was said then:\nUser: One.\nAssistant: Two."
    )
    assert "50 words" in found.instructions
    assert f"{MAX_WORDS} words" in replace(found, limit_chars=11_000).instructions
    assert "40 words" in replace(found, limit_chars=40).instructions
    assert (found.limit_tokens, replace(found, limit_chars=8).limit_tokens) == (100, 80)


def test_a_whole_request_fits_the_budget() -> None:
    limit = 4_000
    earlier = Summary("Ada. " * 300, frozenset())
    found = errand(talk(400), earlier, limit)
    asked = len(found.instructions) + len(found.question)
    assert asked / CHARS_PER_TOKEN + found.limit_tokens < limit


# --- what comes of it ---
def test_what_a_model_wrote_is_bounded_at_a_sentences_end() -> None:
    assert made().summed_up("  Ada is six.\n") == Summary("Ada is six.", frozenset("a"))
    assert made().summed_up(" ... \n") is None
    short = made(limit_chars=30)
    assert short.summed_up("Ada is six years old. She has a dog.") == Summary(
        "Ada is six years old.", frozenset("a")
    )
    assert short.summed_up("x" * 40) == Summary("x" * 29 + "…", frozenset("a"))
    lines = short.summed_up("- Ada is six years old\n- She has a dog")
    assert lines is not None
    assert lines.text == "- Ada is six years old"
    chinese = made(limit_chars=7).summed_up("她叫艾达。她六岁了。还有狗。")
    assert chinese is not None
    assert chinese.text == "她叫艾达。"


def test_a_summary_is_shown_as_notes_and_an_empty_one_not_at_all() -> None:
    summary = Summary("Ada is six.", frozenset())
    assert summary.shown.endswith(":\nAda is six.")
    assert summary.tokens == ITEM_TOKENS + len(summary.shown) // CHARS_PER_TOKEN
    assert (Summary("", frozenset()).shown, Summary("", frozenset()).tokens) == ("", ITEM_TOKENS)


def test_without_a_model_the_users_turns_are_kept_by_their_beginnings() -> None:
    found = made(
        said=("My name is Ada Lovelace. And so on.", "Hm. I have two dogs. Yes.", "我叫艾达")
    )
    assert found.extracted().text == (
        "- User: My name is Ada Lovelace.\n- User: Hm. I have two dogs. Yes.\n- User: 我叫艾达"
    )
    assert len(made(said=("x" * 900,)).extracted().text) == len("- User: ") + MAX_SENTENCE_CHARS


def test_the_shortest_give_way_where_not_all_fit() -> None:
    found = made(said=("A long sentence that says much", "Well", "Another that says much"))
    assert replace(found, limit_chars=71).extracted().text == (
        "- User: A long sentence that says much\n- User: Another that says much"
    )


def test_old_notes_keep_half_of_the_room() -> None:
    prose = "Ada is six years old. She lives in Ely. " * 5
    new = tuple(f"Sentence number {n} of many" for n in range(20))
    text = made(before=prose, said=new, limit_chars=300).extracted().text
    assert len(text) <= 300
    assert text.startswith("Ada is six years old.\n")
    assert text.count("- User") == 4
    again = made(before="- User: I am Ada. Twice.", said=("Good",), limit_chars=300).extracted()
    assert again.text == "- User: I am Ada. Twice.\n- User: Good"
    assert made(before=prose).extracted().text.count("Ely") == 5  # nobody else wants the room


@pytest.mark.parametrize("share", [BEGIN_AT - KEEP - SUMMARY, 1 - REQUEST - 2 * SUMMARY])
def test_the_shares_leave_room_for_each_other(share: float) -> None:
    assert share > 0.19
