import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.conversation import FunctionResult, Item, Message, Part
from duologue.core.errors import SetupError
from duologue.core.manners import HANG_UP, with_hang_up
from duologue.core.options import ReplyOptions, Tool
from duologue.engines.skills.responder import NO_MODEL, NOT_HEARD, SPEC, SkillsResponder
from duologue.engines.skills.skill import meant
from duologue.engines.skills.spoken import say_whole
from duologue.engines.skills.talk import CAN_DO, CANNOT_HANG_UP, GREETING, WHO
from duologue.engines.skills.timer_talk import CANNOT_CHANGE
from duologue.engines.skills.timers import MAX_TIMERS, NamedLater, TakeBack
from duologue.ports import CallDelta, Prompt, SpeakLater, TextDelta

NOW = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
"""A Saturday."""


class Talk:
    """A conversation with the skills, on a clock of its own."""

    def __init__(
        self,
        *,
        can_take_back: bool = True,
        session_id: str = "sess_1",
        options: ReplyOptions = ReplyOptions(),  # noqa: B008 - frozen
    ) -> None:
        self.now = NOW
        self.items: list[Item] = []
        self.deltas: list[Any] = []
        self._session_id = session_id
        self._options = options
        self.responder = SkillsResponder(lambda: self.now, can_take_back=can_take_back)

    def say(self, text: str | None) -> str:
        """What is answered to it."""
        number = len(self.items)
        self.items.append(Message(f"u{number}", "user", (Part("input_audio", text),)))
        prompt = Prompt(tuple(self.items), self._options, self._session_id)
        self.deltas = list(self.responder.answer(prompt))
        answer = "".join(d.text for d in self.deltas if isinstance(d, TextDelta))
        self.items.append(Message(f"a{number}", "assistant", (Part("output_audio", answer),)))
        return answer

    @property
    def later(self) -> list[tuple[float, str]]:
        """What the last answer wants said later."""
        return [(d.after_s, d.text) for d in self.deltas if isinstance(d, SpeakLater)]


def answer(*lines: str) -> str:
    """The answer to the last of these."""
    talk = Talk()
    return [talk.say(line) for line in lines][-1]


TIME = "It is three oh seven in the afternoon."
TODAY = "Today is Saturday, the twenty-first of November, twenty twenty-six."
TIMER = "Five minutes, starting now."


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        # time
        ("what time is it", TIME),
        ("What time is it?", TIME),
        ("whats the time please", TIME),  # codespell:ignore whats
        ("um could you tell me the time", TIME),
        ("do you have the time", TIME),
        ("time", TIME),
        ("what's the current time", TIME),
        ("hello what time is it now", TIME),
        ("what time is it in tokyo", f"I only know the time here: it is {TIME[6:]}"),
        # dates
        ("what day is it", TODAY),
        ("what is today's date", TODAY),
        ("what's the date today", TODAY),
        ("is it friday today", TODAY),
        ("which day of the week is it", TODAY),
        ("what year is it", "It is twenty twenty-six."),
        ("what month is it", "It is November, twenty twenty-six."),
        ("what day is tomorrow", "That is Sunday, the twenty-second of November, twenty twenty-six."),
        ("what day was yesterday", "That was Friday, the twentieth of November, twenty twenty-six."),
        ("what is the date on friday",
         "That is Friday, the twenty-seventh of November, twenty twenty-six."),
        ("when is christmas", "That is Friday, the twenty-fifth of December, twenty twenty-six."),
        ("how many days until christmas", "There are thirty-four days until Friday, the twenty-fifth of December."),
        ("how many days till tomorrow", "There is one day until Sunday, the twenty-second of November."),
        ("how many weeks until new year's",
         "There are five weeks and six days until Friday, the first of January, twenty twenty-seven."),
        ("how long until the first of december", "There are ten days until Tuesday, the first of December."),
        # sums
        ("what is twelve times seven point five", "Twelve times seven point five is ninety."),
        ("what is four plus for", "Four plus four is eight."),
        ("please calculate ten percent of two fifty",
         "Ten percent of two hundred and fifty is twenty-five."),
        ("what's five divided by zero", "Nothing can be divided by zero."),
        ("what is the square root of two", "The square root of two is about one point four one."),
        # units
        ("how many kilometers is five miles", "Five miles is about eight point zero five kilometres."),
        ("seventy two fahrenheit in celsius",
         "Seventy-two degrees Fahrenheit is about twenty-two point two degrees Celsius."),
        # timers
        ("set a timer for five minutes", TIMER),
        ("set the timer for five minutes please", TIMER),
        ("said a timer for five minutes", TIMER),
        ("set a time or for five minutes", TIMER),
        ("set a timer four five minutes", TIMER),
        ("set a timer five minutes", TIMER),
        ("start a five minute timer", TIMER),
        ("five minute timer", TIMER),
        ("timer for five minutes", TIMER),
        ("i want a timer for five minutes", TIMER),
        ("can you set an alarm in five minutes", TIMER),
        ("set a tea timer for five minutes", "Your tea timer is set for five minutes."),
        ("set a timer for five minutes for the eggs", "Your eggs timer is set for five minutes."),
        ("set a timer for five minutes called tea", "Your tea timer is set for five minutes."),
        ("remind me in ten seconds to take the tea out",
         "I will remind you in ten seconds to take the tea out."),
        ("remind me to take the tea out in ten seconds",
         "I will remind you in ten seconds to take the tea out."),
        ("in ten seconds remind me two take the tea out",
         "I will remind you in ten seconds to take the tea out."),
        ("remind me in an hour that my bus is leaving",
         "I will remind you in one hour that your bus is leaving."),
        ("wake me up in twenty minutes", "I will remind you in twenty minutes to wake up."),
        ("set a timer", "How long should the timer be?"),
        ("set a timer for twenty five hours", "A timer can run for at most twenty-four hours."),
        ("cancel the timer", "No timer is running."),
        ("what timers are running", "No timer is running."),
        ("how much time is left", "No timer is running."),
        ("hello much time is left", "No timer is running."),
        ("turn off the alarm", "No timer is running."),
        ("add five minutes to the timer", CANNOT_CHANGE),
        ("snooze the alarm", CANNOT_CHANGE),
        ("remind me at midnight to turn off the oven",
         "I can only count down. In how long should I remind you to turn off the oven?"),
        ("remind me next week to stop smoking", "In how long should I remind you to stop smoking?"),
        ("set an alarm for seven thirty",
         "I can only count down. I heard: set an alarm for seven thirty. How long should the timer be?"),
        # repeating
        ("repeat after me the quick brown fox", "the quick brown fox"),
        ("Repeat after me: Hello, World!", "Hello, World!"),
        ("please repeat after me what time is it", "what time is it"),
        ("repeat after me", "What should I repeat?"),
        ("say that again", "I have not said anything yet."),
        ("can you repeat that one more time please", "I have not said anything yet."),
        ("say hello", "hello"),
        ("repeat the number sixty eight", "sixty eight"),
        # talk
        ("hello", GREETING),
        ("hey there", GREETING),
        ("hello again", GREETING),
        ("hey assistant", GREETING),
        ("give me a minute", "Okay."),
        ("yes", "All right."),
        ("good morning", "Good morning. What can I do for you?"),
        ("goodbye", "Goodbye."),
        ("good night", "Goodbye."),
        ("thanks bye bye", "Goodbye."),
        ("hang up", CANNOT_HANG_UP),
        ("please end the call", CANNOT_HANG_UP),
        ("hang on", "Okay."),
        ("thank you very much", "You are welcome."),
        ("thanks", "You are welcome."),
        ("stop", "Okay."),
        ("never mind", "Okay."),
        ("please be quiet", "Okay."),
        ("cancel", "Okay."),
        ("who are you", WHO),
        ("what's your name", WHO),
        ("are you a robot", WHO),
        ("help", CAN_DO),
        ("what can you do", CAN_DO),
        ("what can i ask you", CAN_DO),
        ("", NOT_HEARD),
        ("...", NOT_HEARD),
    ],
)  # fmt: skip
def test_what_is_said_and_what_is_answered(said: str, answered: str) -> None:
    assert answer(said) == answered


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("what is twelve times seven dear", "twelve times seven"),
        ("what is five and seven", "five plus seven"),
        ("what is ten percent off fifty", "ten percent of fifty"),
        ("what time is dinner", "what time is it"),
        (
            "what day is friday the best",
            "what day is the twenty-seventh of November twenty twenty-six",
        ),
        ("how many kilometers is for miles", "four miles in kilometres"),
        ("how many hours of sleep in a week", "one week in hours"),
        ("set a timer for minutes", "set a timer for four minutes"),
        ("set a time of five minutes", "set a timer for five minutes"),
        ("set a timer for three two five minutes", "set a timer for five minutes"),
        ("five minutes", "set a timer for five minutes"),
        ("start dinner in five minutes", "set a timer for five minutes"),
    ],
)
def test_in_doubt_it_says_what_it_heard_and_asks(said: str, meaning: str) -> None:
    talk = Talk()
    question = talk.say(said)
    assert question == f"I heard: {said}. Did you mean: {meaning}?"
    assert meant(question) == meaning
    assert talk.later == []
    agreed = talk.say("yes please")
    assert "Did you mean" not in agreed
    assert agreed == Talk().say(meaning)
    assert talk.say("yes") == "All right."


@pytest.mark.parametrize("agreed", ["yes", "yeah that's right", "okay", "of course", "sure do it"])
@pytest.mark.parametrize(
    "denied", ["no", "nope that is wrong", "of course not", "that's not right"]
)
def test_ways_to_agree_and_to_deny(agreed: str, denied: str) -> None:
    assert answer("what is two times three dear", agreed) == "Two times three is six."
    assert answer("what is two times three dear", denied) == "All right. Please say it again."


def test_a_question_that_is_denied_is_dropped() -> None:
    assert answer("what is two times three dear", "no") == "All right. Please say it again."
    assert answer("what is two times three dear", "no that is wrong", "yes") == "All right."


def test_a_question_that_was_not_heard_to_its_end_is_not_answered_by_yes() -> None:
    talk = Talk()
    talk.say("set a timer for minutes")
    heard = Part("output_audio", "I heard: set a timer for minutes. Did you mean")
    talk.items[-1] = Message("a0", "assistant", (heard,), "incomplete")
    talk.say("yes")
    assert talk.later == []


@pytest.mark.parametrize(
    "said",
    [
        "what is the capital of france",
        "turn on the lights in the kitchen",
        "can i get a large coffee with milk and two sugars",
        "four queen of clubs",
        "one zero zero zero one nine oh two one oh",
        "i have been there five times two years ago",
        "i have five minutes to catch my train to boston",
        "how many times have you told me",
        "what is the best time to visit rome in the summer",
        "then moses was afraid and said surely the thing is known",
        "the stillness was awful creepy and uncomfortable",
        "when is easter",
        "what is the weather tomorrow",
        "what's the weather today",
        "what's on the calendar today",
        "will i need a coat the day after tomorrow",
        "when does the sun set tomorrow",
        "disarm the alarm",
        "double five one seven",
        "how many days until my birthday",
        "stop the music in five minutes",
        "is it raining",
        "你好",
        "what is love",
        "twelve",
    ],
)
def test_what_it_does_not_know_it_does_not_answer(said: str) -> None:
    talk = Talk()
    first = talk.say(said)
    assert first.startswith("I heard: ")
    assert NO_MODEL in first
    second = talk.say(said)
    assert NO_MODEL not in second
    assert len(second) < len(first)
    assert talk.later == []


def test_the_last_answer_is_repeated_as_it_was_heard() -> None:
    talk = Talk()
    talk.say("what time is it")
    assert talk.say("pardon") == TIME
    heard = Part("output_audio", "It is three")
    talk.items[-1] = Message("a1", "assistant", (heard,), "incomplete")
    assert talk.say("say that again") == "It is three"


def test_what_is_asked_for_may_come_in_two_turns() -> None:
    assert answer("set a timer", "five minutes") == TIMER
    assert answer("set a timer", "uh make it five minutes") == TIMER
    assert answer("remind me to call my mother", "in two hours") == (
        "I will remind you in two hours to call your mother."
    )
    assert answer("remind me at seven", "in half an hour") == "I will remind you in thirty minutes."
    assert answer("repeat after me", "one two three") == "one two three"
    assert answer("set a timer", "what time is it") == TIME


def test_a_timer_is_set_listed_and_said_when_it_is_due() -> None:
    talk = Talk()
    talk.say("set a timer for five minutes")
    assert talk.later == [(300.0, "Your timer for five minutes is done.")]
    talk.say("remind me in ten seconds to take my tea out")
    assert talk.later == [(10.0, "Your reminder: take your tea out.")]
    talk.now += timedelta(seconds=4)
    assert talk.say("what timers are running") == (
        "Two timers are running: your reminder to take your tea out has six seconds left; "
        "your timer for five minutes has four minutes and fifty-six seconds left."
    )
    talk.now += timedelta(seconds=6)
    assert talk.say("how much time is left on the timer") == (
        "Your timer for five minutes has four minutes and fifty seconds left."
    )
    talk.now += timedelta(minutes=5)
    assert talk.say("list my timers") == "No timer is running."


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("cancel all timers", ["timer_1", "timer_2", "timer_3"]),
        ("stop the tea timer", ["timer_2"]),
        ("cancel the timer for five minutes", ["timer_1"]),
        ("can you please cancel the reminder", ["timer_3"]),
    ],
)
def test_timers_are_taken_back(said: str, gone: list[str]) -> None:
    talk = Talk()
    talk.say("set a timer for five minutes")
    talk.say("set a ten minute tea timer")
    talk.say("remind me in an hour to go home")
    assert talk.say(said).endswith("cancelled.")
    back = [d.id for d in talk.deltas if isinstance(d, TakeBack)]
    assert sorted(back) == gone
    left = talk.say("list timers")
    assert ("Two timers" in left) == (len(gone) == 1)


def test_which_timer_is_asked_where_it_is_not_clear() -> None:
    talk = Talk()
    talk.say("set a timer for five minutes")
    talk.say("set a ten minute egg timer")
    question = (
        "You have your timer for five minutes and your egg timer for ten minutes. "
        "Which one should I cancel?"
    )
    assert talk.say("cancel the timer") == question
    assert talk.say("what time is it") == TIME
    talk.say("cancel the timer")
    assert talk.say("the eggs one") == "Your egg timer for ten minutes is cancelled."
    assert talk.say("cancel") == "I heard: cancel. Did you mean: cancel the timer?"
    assert talk.say("yes") == "Your timer for five minutes is cancelled."


def test_where_the_session_cannot_take_back_it_does_not_say_so() -> None:
    talk = Talk(can_take_back=False)
    talk.say("set a timer for five minutes")
    assert "cannot" in talk.say("cancel the timer")
    assert not any(isinstance(d, TakeBack) for d in talk.deltas)
    assert "five minutes" in talk.say("list timers")


def test_timers_are_counted() -> None:
    talk = Talk()
    for _ in range(MAX_TIMERS):
        assert talk.say("set a timer for five minutes") == TIMER
    assert "thirty-two timers already" in talk.say("set a timer for five minutes")
    assert talk.later == []


async def test_it_streams_the_promise_after_the_timer() -> None:
    """Cut off while it speaks, the timer is set all the same."""
    responder = SkillsResponder(lambda: NOW)
    item = Message("u", "user", (Part("input_text", "set a timer for five minutes"),))
    prompt = Prompt((item,), ReplyOptions(), "sess_1")
    deltas = [delta async for delta in responder.respond(prompt)]
    assert deltas == [
        NamedLater(300.0, "Your timer for five minutes is done.", "timer_1"),
        TextDelta(TIMER),
    ]


def test_roles_and_tools_are_not_for_it() -> None:
    tool = Tool("light", "turns the light on", {})
    options = ReplyOptions(instructions="You are a pirate.", tools=(tool,), tool_choice="required")
    item = Message("u", "user", (Part("input_text", "turn the light on"),))
    items = (item, FunctionResult("r", "call_1", "on"))
    deltas = SkillsResponder(lambda: NOW).answer(Prompt(items, options))
    assert [type(d) for d in deltas] == [TextDelta]
    assert SkillsResponder(lambda: NOW).answer(Prompt((), options)) == (TextDelta(GREETING),)


def test_it_can_be_had_by_name_with_a_time_zone() -> None:
    SPEC.make("").load()
    SPEC.make("").warm_up()
    here = SPEC.make("UTC")
    prompt = Prompt(
        (Message("u", "user", (Part("input_text", "what time is it"),)),), ReplyOptions()
    )
    assert here.answer(prompt)[0].text.startswith("It is ")
    with pytest.raises(SetupError) as caught:
        SPEC.make("Mars/Olympus")
    assert caught.value.code == "time_zone_unknown"
    with pytest.raises(SetupError):
        SPEC.make("../../etc/passwd")


@given(st.integers(-999, 999), st.integers(-999, 999))
def test_typed_sums_are_right(one: int, other: int) -> None:
    assert answer(f"what is {one} * {other}").endswith(f" is {say_whole(one * other)}.")


VOCABULARY = (
    "what is the time day date timer set cancel all remind me in to for five ten minutes seconds hours half an hour "
    "and a plus times divided by percent of square root how many kilometers miles celsius degrees until friday "
    "christmas may the twenty fifth december repeat after that again yes no stop hello thanks who are you help it "
    "two four point zero million minus dear light music my your left which timers 5 2.5 999999999999999"
).split()


@given(st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=9), max_size=6))
def test_no_conversation_breaks_it(lines: list[list[str]]) -> None:
    talk = Talk()
    for words in lines:
        line = " ".join(words)
        said = talk.say(line)
        assert said
        assert said.isascii()
        if (meaning := meant(said)) and "after me" not in line and "again" not in line:
            again = talk.say("yes")
            assert meant(again) in ("", meaning) or "that" in line
            assert again != said


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    assert answer(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "what time is it " * 100_000,
        "double " * 58 + "five",
        "square root of " * 18 + "two",
        "add " * 59,
        "one hundred and " * 19,
        "9" * 400,
        "two to the power of nine hundred trillion",
        "set a timer for " + "9" * 15 + " hours",
        "in " + "9" * 15 + " weeks what day is it",
        "\x00\u202e\ud800",
        "1/" * 190 + "1",
    ],
)
def test_hostile_text_costs_little(text: str) -> None:
    began = time.perf_counter()
    assert answer(text)
    assert time.perf_counter() - began < 0.25


def test_numbers_of_the_answers_are_words() -> None:
    for said in (
        "what is 12 * 7.5",
        "5 km in miles",
        "what day is it",
        "set a timer for 90 seconds",
    ):
        assert not any(c.isdigit() for c in answer(said))


# --- goodbye ---
HANGS_UP = (TextDelta("Goodbye."), CallDelta("hang_up", "hang_up", "{}"))


@pytest.mark.parametrize(
    "farewell",
    ["goodbye", "Bye bye!", "okay thanks goodbye", "good night", "hang up", "please end the call"],
)
def test_it_hangs_up_after_a_goodbye_where_it_may(farewell: str) -> None:
    talk = Talk(options=with_hang_up(ReplyOptions()))
    talk.say(farewell)
    assert tuple(talk.deltas) == HANGS_UP


@pytest.mark.parametrize(
    "text",
    ["how do you spell goodbye", "what is five divided by two", "say goodbye", "hang on", "stop"],
)
def test_it_hangs_up_after_nothing_else(text: str) -> None:
    talk = Talk(options=with_hang_up(ReplyOptions()))
    talk.say(text)
    assert not [delta for delta in talk.deltas if isinstance(delta, CallDelta)]


def test_it_stays_for_a_timer() -> None:
    talk = Talk(options=with_hang_up(ReplyOptions()))
    talk.say("set a timer for five minutes")
    assert talk.say("goodbye") == "Goodbye."
    assert len(talk.deltas) == 1
    talk.now += timedelta(minutes=6)
    talk.say("goodbye")
    assert tuple(talk.deltas) == HANGS_UP


def test_a_clients_function_that_looks_like_ours_is_not_called() -> None:
    own = Tool(HANG_UP.name, HANG_UP.description, dict(HANG_UP.parameters))
    talk = Talk(options=ReplyOptions(tools=(own,)))
    assert talk.say("goodbye") == "Goodbye."
    assert len(talk.deltas) == 1
