"""Whole turns through the shell, in scripted time."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from duologue.core.commands import (
    CancelReply,
    Clear,
    Commit,
    CreateItem,
    CreateReply,
    DeleteItem,
    RetrieveItem,
    SetOptions,
    TruncateItem,
)
from duologue.core.conversation import FunctionCall, FunctionResult, Message, Part
from duologue.core.facts import AskId
from duologue.core.notices import (
    ArgumentsGrew,
    Cleared,
    Committed,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    Notice,
    OutputBegan,
    OutputEnded,
    PlaybackEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.core.options import ReplyOptions, SessionOptions, Tool
from duologue.core.policy import TurnPolicy
from duologue.core.turn import Floor
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.ports import CallDelta, Delta, Prompt, SpeakLater, StreamOptions, TextDelta
from duologue.session.journal import replay
from tests.support.stage import stage

PUSH_TO_TALK = SessionOptions(turn=TurnPolicy(detect=False, create_response=False))


def kinds(notices: list[Notice]) -> list[str]:
    return [type(notice).__name__ for notice in notices]


# --- turns ---
async def test_a_turn_is_heard_and_answered_in_the_protocols_order() -> None:
    async with stage() as s:
        await s.turn()
        await s.quiet(6000)
        assert kinds([n for _, n in s.ear.told]) == [
            "SpeechBegan",
            "SpeechEnded",
            "Committed",
            "ItemAdded",
            "TranscriptGrew",
            "TranscriptDone",
            "ReplyBegan",
            "OutputBegan",
            "TextGrew",
            "PlaybackBegan",
            "OutputEnded",
            "ReplyEnded",
            "PlaybackEnded",
        ]
        assert s.ear.last(PlaybackEnded) == PlaybackEnded(
            s.ear.last(ReplyEnded).reply.id,
            s.ear.last(OutputBegan).item.id,
            int(s.ear.sound_ms()),
            cut=False,
        )
        ended = s.ear.last(ReplyEnded).reply
        assert ended.status == "completed"
        heard = s.ear.last(TranscriptDone).text
        assert heard in ended.output[0].text
        assert s.session.floor is Floor.OPEN


async def test_the_tenth_turn_is_heard_like_the_first() -> None:
    async with stage(tts=FakeTts("tts_s=1")) as s:
        for number in range(10):
            await s.turn()
            await s.quiet(1500)
            assert len(s.ear.of(TranscriptDone)) == number + 1
            assert len(s.ear.of(ReplyEnded)) == number + 1
        assert {r.reply.status for r in s.ear.of(ReplyEnded)} == {"completed"}
        assert s.ear.sound_ms() == 10_000


async def test_ids_link_the_events_and_items_follow_one_another() -> None:
    async with stage(tts=FakeTts("tts_s=0.5")) as s:
        await s.turn()
        await s.quiet(1500)
        await s.turn()
        began, ended = s.ear.of(SpeechBegan), s.ear.of(SpeechEnded)
        committed, added = s.ear.of(Committed), s.ear.of(ItemAdded)
        for a, b, c, d in zip(began, ended, committed, added, strict=True):
            assert a.item_id == b.item_id == c.item_id == d.item.id
        outputs = s.ear.of(OutputBegan)
        assert committed[0].previous_id is None
        assert outputs[0].previous_id == committed[0].item_id
        assert committed[1].previous_id == outputs[0].item.id


async def test_the_first_sound_comes_right_after_the_silence() -> None:
    async with stage() as s:
        await s.quiet(400)
        await s.speak(640)
        ended = s.now
        await s.quiet(1000)
        first = s.ear.frames[0][0]
        assert 500 <= first - ended <= 500 + 60
        turn = s.world.meters.turns[0]
        assert turn.reasons == [
            "turn ended: silence of 500 ms",
            "the answer was begun early",
        ]
        assert list(turn.marks) == [
            "end_of_turn",
            "final_transcript",
            "reply_started",
            "first_token",
            "first_sound",
            "first_sent",
        ]
        assert abs(turn.marks["first_sent"] - (first - ended)) <= 40


async def test_sound_is_sent_a_little_ahead_of_the_listener_and_no_more() -> None:
    async with stage(tts=FakeTts("tts_s=3")) as s:
        await s.turn()
        began = s.ear.frames[0][0]
        for at, _, _ in s.ear.frames:
            sent = sum(len(p) / 48 for when, _, p in s.ear.frames if when <= at)
            assert sent - (at - began) <= 140
        await s.quiet(4000)
        assert s.ear.sound_ms() == 3000
        assert s.session.mouth.underruns == 0


async def test_times_count_the_clients_own_sound() -> None:
    async with stage() as s:
        await s.quiet(1000)
        await s.turn(800)
        assert abs(s.ear.last(SpeechBegan).audio_ms - (1000 - 300)) <= 40
        assert abs(s.ear.last(SpeechEnded).audio_ms - 2300) <= 60
        await s.quiet(7000)
        await s.muted(5000)
        total_ms = 1000 + 800 + 700 + 7000
        await s.turn(800)
        assert abs(s.ear.last(SpeechBegan).audio_ms - (total_ms - 300)) <= 60


async def test_a_muted_microphone_ends_the_turn_too() -> None:
    async with stage() as s:
        await s.speak(800)
        await s.muted(800)
        assert s.ear.of(TranscriptDone)
        assert s.ear.frames


async def test_a_recording_at_any_speed_gives_the_same_turns() -> None:
    async with stage(tts=FakeTts("tts_s=0.2")) as s:
        s.session.hear(s.loud(800) + s.still(900) + s.loud(700) + s.still(900))
        await s.step(None)
        await s.quiet(200)
        assert len(s.ear.of(TranscriptDone)) == 2
        durations = [d.audio_ms for d in s.ear.of(TranscriptDone)]
        assert abs(durations[0] - 1300) < 60
        assert abs(durations[1] - 1200) < 60


async def test_noise_without_words_is_committed_and_not_answered() -> None:
    class Deaf(FakeStt):
        def open(self, key: str, options: Any) -> Any:
            stream = super().open(key, options)
            stream.offer = lambda item: True  # type: ignore[method-assign]
            return stream

    async with stage(stt=Deaf()) as s:
        await s.turn()
        assert s.ear.last(TranscriptDone).text == ""
        assert not s.ear.of(ReplyBegan)
        assert s.world.meters.turns[0].outcome == "no words"


# --- interruption ---
async def test_speaking_over_the_answer_stops_it_and_only_heard_words_were_said() -> None:
    async with stage(tts=FakeTts("tts_s=4")) as s:
        await s.turn()
        await s.quiet(1500)
        await s.speak(200)
        held = s.ear.sound_ms()
        await s.speak(TurnPolicy().barge_in_ms - 240)
        assert s.ear.sound_ms() == held  # silent at once, before anything was decided
        assert not s.ear.of(ReplyEnded)
        await s.speak(80)
        ended = s.ear.last(ReplyEnded).reply
        assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
        said = s.ear.of(TextGrew)[0].delta
        words = ended.output[0].text
        heard_share = s.ear.sound_ms() / 4000
        assert said.startswith(words)
        assert abs(len(words) / len(said) - heard_share) < 0.2
        assert s.session.conversation.get(ended.output[0].id).text == words  # type: ignore[union-attr]
        order = kinds([n for _, n in s.ear.told][-4:])
        assert order == ["SpeechBegan", "OutputEnded", "ReplyEnded", "PlaybackEnded"]
        cut = s.ear.last(PlaybackEnded)
        assert (cut.cut, cut.item_id) == (True, ended.output[0].id)
        assert s.ear.sound_ms() - 140 <= cut.heard_ms <= s.ear.sound_ms()
        assert s.world.meters.turns[0].outcome == "interrupted"
        await s.quiet(900)
        assert len(s.ear.of(TranscriptDone)) == 2
        assert len(s.ear.of(ReplyBegan)) == 2


async def test_a_cough_holds_the_answer_and_costs_none_of_it() -> None:
    class Coughs(FakeStt):
        def open(self, key: str, options: Any) -> Any:
            stream = super().open(key, options)
            if len(s.ear.frames):
                stream.offer = lambda item: True  # type: ignore[method-assign]  # understands nothing
            return stream

    async with stage(stt=Coughs(), tts=FakeTts("tts_s=3")) as s:
        await s.turn()
        await s.quiet(500)
        await s.speak(140)
        before = s.ear.sound_ms()
        await s.quiet(60)
        assert s.ear.sound_ms() == before
        await s.quiet(4000)
        assert s.ear.sound_ms() == 3000
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert len(s.ear.of(SpeechBegan)) == 1  # the client was never told, and flushed nothing
        assert s.world.meters.counts["false_alarms"] == 1
        assert s.session.mouth.underruns == 0


async def test_the_clients_truncate_wins_and_is_clamped_to_what_was_sent() -> None:
    async with stage(tts=FakeTts("tts_s=4")) as s:
        await s.turn()
        await s.quiet(1500)
        await s.speak(TurnPolicy().barge_in_ms + 100)
        item = s.ear.last(ReplyEnded).reply.output[0]
        await s.ask(TruncateItem, item.id, 0, 500)
        assert s.ear.last(ItemTruncated).audio_ms == 500
        kept = s.session.conversation.get(item.id).text  # type: ignore[union-attr]
        assert item.text.startswith(kept)
        assert len(kept) < len(item.text)
        await s.ask(TruncateItem, item.id, 0, 60_000)
        assert s.ear.last(ItemTruncated).audio_ms == 500


async def test_speech_over_the_tail_of_an_answer_is_the_next_turn() -> None:
    async with stage(tts=FakeTts("tts_s=1")) as s:
        await s.turn(quiet_ms=540)
        while not s.ear.of(ReplyEnded):
            await s.quiet(20)
        await s.speak(60)
        floors = [s.session.floor]
        await s.speak(100)
        floors.append(s.session.floor)
        assert floors == [Floor.OVERLAP, Floor.USER]  # the last of it was heard meanwhile
        assert s.ear.last(ReplyEnded).reply.status == "completed"


async def test_going_on_before_the_answer_is_audible_makes_one_answer_to_both() -> None:
    async with stage(llm=FakeLlm("llm_ms=60000")) as s:
        await s.turn()
        assert s.ear.of(ReplyBegan)
        await s.turn()
        replies = s.ear.of(ReplyEnded)
        assert [r.reply.reason for r in replies] == ["turn_detected"]
        assert len(s.ear.of(ReplyBegan)) == 2


# --- what the recogniser gets ---
class Tape(FakeStt):
    """Keeps every frame that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Any] = []

    def open(self, key: str, options: Any) -> Any:
        stream = super().open(key, options)
        offer = stream.offer

        def keep(item: Any) -> bool:
            self.frames.append(item)
            return offer(item)

        stream.offer = keep  # type: ignore[method-assign]
        return stream


async def test_the_first_word_is_not_clipped_and_nothing_is_given_twice() -> None:
    tape = Tape()
    async with stage(stt=tape) as s:
        await s.quiet(1000)
        await s.speak(600)
        await s.quiet(300)  # a draft is made here
        await s.speak(400)
        await s.quiet(700)
        assert 650 * 16 <= tape.frames[0].start <= 750 * 16  # speech began at 1000 ms
        for one, next_ in zip(tape.frames, tape.frames[1:], strict=False):
            assert next_.start >= one.end
        last = tape.frames[-1].end
        assert last >= (1000 + 600 + 300 + 400) * 16


async def test_a_late_order_still_finds_the_sound_in_a_burst() -> None:
    tape = Tape()
    async with stage(stt=tape) as s:
        s.session.hear(s.still(400) + s.loud(900) + s.still(20_000))
        await s.step(None)
        covered = sum(f.end - f.start for f in tape.frames)
        assert covered >= 900 * 16


async def test_push_to_talk_takes_exactly_what_came_before_the_commit() -> None:
    tape = Tape()
    async with stage(PUSH_TO_TALK, stt=tape) as s:
        for _ in range(3):
            tape.frames.clear()
            await s.speak(500)
            await s.ask(Commit)
            got = sum(f.end - f.start for f in tape.frames)
            assert abs(got / 16 - 500) <= 20  # the resampler keeps a few ms
            await s.quiet(100)
            assert s.session.floor is Floor.OPEN
            await s.ask(Clear)
        assert len(s.ear.of(TranscriptDone)) == 3
        assert not s.ear.of(ReplyBegan, SpeechBegan, SpeechEnded)


async def test_push_to_talk_in_one_burst() -> None:
    tape = Tape()
    async with stage(PUSH_TO_TALK, stt=tape) as s:
        s.session.hear(s.loud(10_000))
        await s.ask(Commit)
        await s.ask(CreateReply, ReplyOptions())
        assert abs(sum(f.end - f.start for f in tape.frames) / 16 - 10_000) <= 30
        assert s.ear.of(ReplyBegan)


# --- commands ---
async def test_an_empty_commit_is_refused() -> None:
    for options in (PUSH_TO_TALK, SessionOptions()):
        async with stage(options) as s:
            ask = await s.ask(Commit)
            problem = s.ear.last(Problem)
            assert (problem.error.code, problem.ask) == ("input_audio_buffer_commit_empty", ask)
            await s.quiet(80)
            await s.ask(Commit)
            assert len(s.ear.of(Problem)) == 2
            await s.quiet(80)
            await s.ask(Commit)
            assert s.ear.of(Committed)


async def test_clear_forgets_what_was_said() -> None:
    async with stage() as s:
        await s.speak(600)
        await s.ask(Clear)
        assert s.ear.of(Cleared)
        await s.quiet(1000)
        assert not s.ear.of(Committed, ReplyBegan)
        await s.turn()
        assert len(s.ear.of(TranscriptDone)) == 1


async def test_clear_in_the_middle_of_speech_hears_what_goes_on() -> None:
    async with stage() as s:
        await s.speak(400)
        await s.ask(Clear)
        await s.turn(600)
        assert len(s.ear.of(SpeechBegan)) == 2
        assert len(s.ear.of(TranscriptDone)) == 1


async def test_commands_keep_their_place_behind_the_sound_before_them() -> None:
    async with stage() as s:
        s.session.hear(s.loud(600))
        s.session.ask(Commit(ask=1))  # type: ignore[arg-type]
        assert not s.ear.of(Committed)  # not judged yet
        await s.step(None)
        assert kinds([n for _, n in s.ear.told])[:3] == ["SpeechBegan", "SpeechEnded", "Committed"]


async def test_items_can_be_created_retrieved_and_deleted() -> None:
    async with stage() as s:
        item = Message("mine", "user", (Part("input_text", "hello"),))
        await s.ask(CreateItem, item)
        assert s.ear.last(ItemAdded).item is item
        await s.ask(RetrieveItem, "mine")
        assert s.ear.last(ItemRetrieved).item is item
        await s.ask(CreateItem, item)
        assert s.ear.last(Problem).error.code == "item_create_duplicate_item_id"
        await s.ask(DeleteItem, "mine")
        assert s.ear.last(ItemDeleted).item_id == "mine"
        await s.ask(RetrieveItem, "mine")
        assert s.ear.last(Problem).error.code == "item_retrieve_invalid_item_id"


async def test_a_typed_question_is_answered_aloud_or_in_text() -> None:
    async with stage(tts=FakeTts("tts_s=0.5")) as s:
        item = Message("mine", "user", (Part("input_text", "what is this"),))
        await s.ask(CreateItem, item)
        await s.ask(CreateReply, ReplyOptions(spoken=False, metadata={"k": "v"}))
        ended = s.ear.last(ReplyEnded).reply
        assert ended.output[0].parts[0].kind == "output_text"
        assert "what is this" in "".join(t.delta for t in s.ear.of(TextGrew))
        assert ended.options.metadata == {"k": "v"}
        assert not s.ear.frames
        await s.ask(CreateReply, ReplyOptions())
        await s.quiet(1000)
        assert s.ear.sound_ms() == 500


async def test_one_answer_at_a_time_and_cancel() -> None:
    async with stage(tts=FakeTts("tts_s=3")) as s:
        await s.ask(CreateReply, ReplyOptions())
        refused = await s.ask(CreateReply, ReplyOptions())
        problem = s.ear.last(Problem)
        assert (problem.ask, problem.error.code) == (
            refused,
            "conversation_already_has_active_response",
        )
        await s.quiet(500)
        other = await s.ask(CancelReply, "resp_unknown")
        assert s.ear.last(Problem).ask == other
        await s.ask(CancelReply, s.ear.last(ReplyBegan).reply.id)
        ended = s.ear.last(ReplyEnded).reply
        assert (ended.status, ended.reason) == ("cancelled", "client_cancelled")
        sent = s.ear.sound_ms()
        await s.quiet(500)
        assert s.ear.sound_ms() == sent
        idle = await s.ask(CancelReply)
        assert s.ear.last(Problem).ask == idle
        assert s.ear.last(Problem).error.code == "response_cancel_not_active"


async def test_function_calls_and_their_results() -> None:
    tool = Tool("lamp", "Switches the lamp.", {"type": "object"})
    async with stage(tts=FakeTts("tts_s=0.3")) as s:
        await s.ask(SetOptions, SessionOptions(reply=ReplyOptions(tools=(tool,))))
        item = Message("mine", "user", (Part("input_text", "please call lamp"),))
        await s.ask(CreateItem, item)
        await s.ask(CreateReply, ReplyOptions(tools=(tool,)))
        call = s.ear.last(ReplyEnded).reply.output[0]
        assert isinstance(call, FunctionCall)
        assert (
            "".join(a.delta for a in s.ear.of(ArgumentsGrew)) == call.arguments == '{"said": true}'
        )
        assert s.ear.last(OutputEnded).item == call
        assert s.session.floor is Floor.OPEN
        await s.ask(CreateItem, FunctionResult("r", call.call_id, "42"))
        await s.ask(CreateReply, ReplyOptions())
        assert "returned 42" in s.ear.last(TextGrew).delta


async def test_options_change_in_the_middle_and_formats_hold() -> None:
    from duologue.core.audio import AudioFormat

    wide = AudioFormat(48_000)
    narrow = ReplyOptions(format=AudioFormat(16_000))
    options = SessionOptions(input_format=wide, reply=narrow)
    async with stage(options, tts=FakeTts("tts_s=1")) as s:
        await s.turn()
        await s.quiet(1500)
        assert len(s.ear.of(TranscriptDone)) == 1
        assert abs(sum(len(p) for _, _, p in s.ear.frames) / 32 - 1000) < 25
        await s.ask(SetOptions, SessionOptions())
        await s.turn()
        assert len(s.ear.of(TranscriptDone)) == 2


async def test_a_wrong_sample_rate_is_named() -> None:
    async with stage() as s:
        for _ in range(300):
            await s.step(s.loud(20)[:640])  # 16 kHz sound declared as 24 kHz
        problems = s.ear.of(Problem)
        assert [p.error.code for p in problems] == ["audio_rate_mismatch"]
        assert "16000" in str(problems[0].error)


# --- when engines fail ---
async def test_a_lost_transcript_is_reported_and_the_next_turn_is_heard() -> None:
    class Once(FakeStt):
        lost = 0

        def fails(self) -> bool:
            self.lost += 1
            return self.lost <= 2  # it is asked a second time

    async with stage(stt=Once(), tts=FakeTts("tts_s=0.2")) as s:
        await s.turn()
        broke = s.ear.last(TranscriptBroke)
        assert broke.code == "fake_stt_lost"
        assert broke.message.startswith("This could not be transcribed. ")
        assert len(broke.message) > 40  # the engine's reason
        turn = s.world.meters.turns[-1]
        assert turn.outcome == "not transcribed"
        assert "not transcribed: fake_stt_lost" in turn.reasons
        assert not s.ear.of(ReplyBegan)
        await s.quiet(500)
        await s.turn()
        assert s.ear.of(TranscriptGrew)
        assert s.ear.of(ReplyBegan)


async def test_a_failing_language_model_or_voice_ends_the_answer_with_its_reason() -> None:
    for engines, code in (
        ({"llm": FakeLlm("fail=1")}, "fake_llm_refused"),
        ({"tts": FakeTts("fail=1")}, "fake_tts_lost"),
    ):
        async with stage(**engines) as s:
            await s.turn()
            ended = s.ear.last(ReplyEnded).reply
            assert ended.status == "failed"
            assert ended.error.code == code
            assert s.session.floor is Floor.OPEN
            assert s.world.meters.turns[0].outcome == "failed"
            await s.turn()
            assert len(s.ear.of(TranscriptDone)) == 2


async def test_another_voice_may_take_over_before_the_first_sound_at_its_own_rate() -> None:
    class Fast(FakeTts):
        """Gives each sample the time of half of one."""

        def open(self, key: str, options: StreamOptions) -> Any:
            stream = super().open(key, options)
            stream.rate_hz *= 2
            return stream

    async with stage(tts=(FakeTts("fail=1"), Fast("tts_s=2"))) as s:
        await s.turn()
        await s.quiet(1500)
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert abs(s.ear.sound_ms() - 1000) < 30  # two seconds of samples, heard at their rate


async def test_full_engines_are_reported_not_waited_for() -> None:
    class Full(FakeTts):
        def __init__(self) -> None:
            super().__init__()
            from dataclasses import replace

            self.capabilities = replace(self.capabilities, max_streams=0)

    async with stage(tts=Full()) as s:
        await s.turn()
        assert s.ear.last(ReplyEnded).reply.error.code == "tts_at_capacity"


async def test_a_bug_ends_the_session_and_says_so() -> None:
    class Broken(FakeLlm):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            yield TextDelta("Hello there. ")
            raise ZeroDivisionError

    async with stage(llm=Broken()) as s:
        await s.turn()
        assert s.session.ended.is_set()
        error = s.ear.last(Problem).error
        assert (error.code, error.culprit) == ("internal_error", "us")
        s.session.hear(s.loud(20))  # nothing happens any more, and nothing breaks


# --- what is said unasked ---
async def test_what_is_due_is_said_as_soon_as_nobody_speaks() -> None:
    async with stage(tts=FakeTts("tts_s=0.5")) as s:
        s.session.say("The tea is ready.")
        await s.settle()
        assert s.ear.last(TextGrew).delta == "The tea is ready."
        await s.quiet(1000)
        await s.speak(400)
        s.session.say("And the cake.")
        await s.settle()
        assert len(s.ear.of(ReplyBegan)) == 1
        await s.quiet(700)
        await s.quiet(2000)
        assert s.ear.last(TextGrew).delta == "And the cake."


async def test_a_timer_of_the_responder_speaks_when_due() -> None:
    class Timer(FakeLlm):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            yield TextDelta("All right.")
            yield SpeakLater(0.0, "Time is up.")

    async with stage(llm=Timer(), tts=FakeTts("tts_s=0.2")) as s:
        await s.turn()
        await s.quiet(1000)
        assert [t.delta for t in s.ear.of(TextGrew)] == ["All right.", "Time is up."]


# --- the journal ---
async def test_a_session_replays_to_the_same_orders(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    async with stage(tts=FakeTts("tts_s=2"), journal=path) as s:
        await s.turn()
        await s.quiet(600)
        await s.speak(140)
        await s.quiet(900)
        await s.speak(600)
        await s.quiet(900)
        await s.ask(CancelReply)
        await s.ask(SetOptions, PUSH_TO_TALK)
        await s.speak(300)
        await s.ask(Commit)
    steps = list(replay(path.read_text().splitlines()))
    assert len(steps) > 15
    assert all(step.same for step in steps)
    assert steps[-1].then or steps[-2].then


@pytest.mark.parametrize("spoken", [True, False])
async def test_nothing_to_say_is_an_empty_answer(spoken: bool) -> None:
    class Mute(FakeLlm):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            yield TextDelta(" \n")

    async with stage(llm=Mute()) as s:
        await s.ask(CreateReply, ReplyOptions(spoken=spoken))
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert s.session.floor is Floor.OPEN


async def test_the_recogniser_says_how_sure_it_is_of_each_word_where_that_is_wanted() -> None:
    async with stage(SessionOptions(logprobs=True)) as s:
        await s.turn()
        done = s.ear.last(TranscriptDone)
        assert [word for word, _ in done.logprobs] == done.text.split()
        assert all(logprob < 0 for _, logprob in done.logprobs)
    async with stage() as s:
        await s.turn()
        assert s.ear.last(TranscriptDone).logprobs == ()


async def test_an_answer_that_is_cancelled_at_once_had_begun() -> None:
    async with stage() as s:
        s.session.ask(CreateReply(AskId(1), ReplyOptions()))
        s.session.ask(CancelReply(AskId(2)))
        await s.settle()
        assert kinds([n for _, n in s.ear.told]) == ["ReplyBegan", "ReplyEnded"]
        assert s.ear.last(ReplyEnded).reply.status == "cancelled"


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_client_may_cut_an_answer_that_is_still_being_sent(cancelled: bool) -> None:
    async with stage(tts=FakeTts("tts_s=4")) as s:
        await s.turn()
        await s.quiet(2_000)
        item_id = s.ear.last(OutputBegan).item.id
        await s.ask(TruncateItem, item_id, 0, 600)
        assert s.ear.last(ItemTruncated).audio_ms == 600
        if cancelled:
            await s.ask(CancelReply, None)
            assert s.ear.last(PlaybackEnded).heard_ms == 600
        else:
            await s.quiet(4_000)
            assert s.ear.last(ReplyEnded).reply.status == "completed"
        item = s.session.conversation.get(item_id)
        assert isinstance(item, Message)
        told = "".join(n.delta for n in s.ear.of(TextGrew))
        assert told.startswith(item.text)
        assert 0 < len(item.text) < len(told) / 3
        await s.ask(TruncateItem, item_id, 0, 60_000)
        assert s.ear.last(ItemTruncated).audio_ms == 600


async def test_who_hangs_up_in_the_middle_heard_what_was_sent() -> None:
    async with stage(tts=FakeTts("tts_s=4")) as s:
        await s.turn()
        await s.quiet(1_000)
        meters, sent_ms = s.world.meters, s.ear.sound_ms()
    turn = meters.turns[-1]
    assert turn.outcome == "hung up"
    assert abs(turn.said_ms - sent_ms) < 2
    assert 0 < turn.heard_ms <= turn.said_ms


async def test_an_answer_may_speak_and_call_several_functions() -> None:
    class Busy(FakeLlm):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            yield TextDelta("One moment.")
            yield CallDelta("call_a", "lamp", '{"on"')
            yield CallDelta("call_b", "door", "")
            yield CallDelta("call_a", "", ": true}")
            yield CallDelta("call_b", "", "{}")

    async with stage(llm=Busy(), tts=FakeTts("tts_s=0.5")) as s:
        await s.ask(CreateReply, ReplyOptions())
        await s.quiet(1_000)
        ended = s.ear.last(ReplyEnded).reply
        calls = {i.name: i.arguments for i in ended.output if isinstance(i, FunctionCall)}
        assert calls == {"lamp": '{"on": true}', "door": "{}"}
        assert [n.index for n in s.ear.of(OutputBegan)] == [0, 1, 2]
        assert sorted(n.index for n in s.ear.of(OutputEnded)) == [0, 1, 2]
        order = [n.item.id for n in s.ear.of(OutputBegan)]
        assert [i.id for i in ended.output] == order  # whichever of them was over first
        assert {i.status for i in ended.output} == {"completed"}


async def test_a_truncate_that_is_refused_cuts_nothing() -> None:
    async with stage(tts=FakeTts("tts_s=2")) as s:
        await s.turn()
        await s.quiet(600)
        item_id = s.ear.last(OutputBegan).item.id
        await s.ask(TruncateItem, item_id, 1, 100)
        assert s.ear.last(Problem).error.code == "unsupported_content_type"
        await s.quiet(3_000)
        item = s.session.conversation.get(item_id)
        assert isinstance(item, Message)
        assert item.text == "".join(n.delta for n in s.ear.of(TextGrew))
