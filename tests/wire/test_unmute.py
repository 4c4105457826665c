"""unmute's dialect: what its clients send, and how they are told from browsers of today's."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.commands import CreateReply, SetOptions
from duologue.core.errors import StateConflict
from duologue.core.facts import AskId
from duologue.core.notices import (
    Notice,
    Problem,
    ReplyBegan,
    ReplyState,
    SpeechBegan,
)
from duologue.core.options import ReplyOptions
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.wire.dialect import Dialect
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from duologue.wire.unmute import UnmuteWire
from duologue.wire.unmute_instructions import CHARACTERS, GREETING, LANGUAGES, instruct, language_of
from tests.support.golden import assert_golden, taped
from tests.support.ogg_files import ogg_opus, pages_of, pcm_of
from tests.support.scripted import LOUD, Client
from tests.support.sounds import tone
from tests.support.unmute_client import Referee
from tests.wire.unmuted import UPDATE, append, either, refused, say, told, types, wire


# --- session.update ---
def test_an_update_is_echoed_and_the_bot_speaks_first() -> None:
    w = wire()
    options, echo, greeting = say(w, UPDATE)
    assert isinstance(options, SetOptions)
    assert options.options.reply.voice == "alice.wav"
    assert echo["type"] == "session.updated"
    assert echo["session"] == UPDATE["session"]
    assert isinstance(greeting, CreateReply)
    assert greeting.options.instructions.endswith(GREETING)
    assert greeting.options.voice == "alice.wav"
    assert GREETING not in options.options.reply.instructions
    assert greeting.ask != options.ask


def test_it_speaks_first_only_once() -> None:
    w = wire()
    say(w, UPDATE)
    assert types([s for s in say(w, UPDATE) if isinstance(s, dict)]) == ["session.updated"]
    assert not [s for s in say(w, UPDATE) if isinstance(s, CreateReply)]


def test_it_waits_for_instructions() -> None:
    w = wire()
    silent = {"type": "session.update", "session": {"allow_recording": True, "voice": None}}
    options, echo = say(w, silent)
    assert options.options.reply == ReplyOptions(instructions="Be brief.")
    assert echo["session"] == {"instructions": None, "voice": None, "allow_recording": True}
    assert len(say(w, UPDATE)) == 3


@pytest.mark.parametrize(
    "notice", [SpeechBegan("item_1", 0), ReplyBegan(ReplyState("resp_1", ReplyOptions()))]
)
def test_it_does_not_speak_first_once_somebody_spoke(notice: Notice) -> None:
    w = wire()
    told(w, notice)
    assert len(say(w, UPDATE)) == 2


def test_sound_alone_does_not_keep_it_from_speaking_first() -> None:
    w = wire()  # the page streams its microphone as soon as it can, often before its update
    w.sound(append(ogg_opus(tone(440, 200))))
    assert len(say(w, UPDATE)) == 3


def test_a_greeting_that_comes_too_late_is_no_problem() -> None:
    w = wire()
    greeting = say(w, UPDATE)[-1]
    conflict = StateConflict("conversation_already_has_active_response", "Later.")
    assert told(w, Problem(conflict, greeting.ask)) == []
    assert types(told(w, Problem(conflict, AskId(99)))) == ["error"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"instructions": 7}, "session.instructions"),
        ({"voice": ["a"]}, "session.voice"),
        ({"allow_recording": "yes"}, "session.allow_recording"),
        (None, "session"),
        ([], "session"),
    ],
)
def test_a_wrong_update_changes_nothing(session: Any, param: str) -> None:
    w = wire()
    (error,) = say(w, {"type": "session.update", "session": session})
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["param"] == param
    assert w.options().reply.instructions == "Be brief."


# --- instructions ---
@pytest.mark.parametrize("kind", [*CHARACTERS, "something_else"])
@pytest.mark.parametrize("language", [*LANGUAGES, None, "xx"])
def test_every_character_has_words(kind: str, language: str | None) -> None:
    text = instruct("Base.", {"type": kind, "language": language})
    assert text.startswith("Base.\n\n")
    assert CHARACTERS.get(kind, CHARACTERS["smalltalk"]) in text
    assert LANGUAGES.get(language or "", "") in text


def test_a_text_of_the_client_s_own() -> None:
    assert (
        instruct("Base.", {"type": "constant", "text": "Be Gertrude."}) == "Base.\n\nBe Gertrude."
    )
    assert (
        "Be Gertrude."
        in say(
            wire(),
            {
                "type": "session.update",
                "session": {"instructions": "Be Gertrude.", "allow_recording": False},
            },
        )[0].options.reply.instructions
    )
    assert instruct("", {"type": "constant", "text": " "}) == CHARACTERS["smalltalk"]


def test_one_language_is_told_to_the_engines() -> None:
    named: list[Any] = ["fr", "en", "en/fr", None, 7, []]
    assert [language_of({"language": name}) for name in named] == [
        "fr", "en", "", "", "", "",
    ]  # fmt: skip
    french = {"type": "smalltalk", "language": "fr"}
    update = {"type": "session.update", "session": {**UPDATE["session"], "instructions": french}}  # type: ignore[dict-item]
    assert say(wire(), update)[0].options.language == "fr"


# --- what clients send wrongly ---
@pytest.mark.parametrize(
    "event",
    [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"7", {}, {"type": 7}, {"type": "response.create"}],
)
def test_what_is_no_event_of_unmute_s_is_refused(event: Any) -> None:
    (answer,) = say(wire(), event)
    Referee().see(json.dumps(answer))
    assert answer["error"]["type"] == "invalid_request_error"


def test_appends_that_carry_nothing() -> None:
    for audio in ("", "?", 7, None):
        (answer,) = say(wire(), {"type": "input_audio_buffer.append", "audio": audio})
        assert answer["error"]["param"] == "audio"


def test_what_unmute_s_server_ignores_is_ignored() -> None:
    event = {"type": "unmute.input_audio_buffer.append_anonymized", "number_of_samples": 7}
    assert say(wire(), event) == []


def test_binary_messages_are_refused() -> None:
    with pytest.raises(Exception, match="Binary"):
        wire().binary(b"x")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
bodies = st.dictionaries(
    st.sampled_from(["instructions", "voice", "allow_recording"]),
    anything | st.fixed_dictionaries({"type": anything, "text": anything, "language": anything}),
)


@given(
    st.fixed_dictionaries({"type": st.just("session.update"), "session": bodies | anything})
    | anything
)
@pytest.mark.parametrize("make", [wire, either])
def test_any_json_is_answered(make: Callable[[], Dialect], event: Any) -> None:
    w = make()
    for step in w.receive(json.dumps(event).encode()):
        if isinstance(step, bytes) and isinstance(w, UnmuteWire):
            Referee().see(step)


# --- which of the two it is ---
def test_nothing_is_sent_before_the_first_message() -> None:
    w = either()
    assert list(w.greet()) == []
    assert w.options() == RealtimeWire(SessionDocument("s", "m", "Be brief.")).options()


def test_an_update_of_unmute_s_makes_it_unmute() -> None:
    w = either()
    assert list(w.greet()) == []
    options, echo, greeting = say(w, UPDATE)
    assert isinstance(options, SetOptions)
    assert isinstance(greeting, CreateReply)
    assert set(echo["session"]) == {"instructions", "voice", "allow_recording"}
    assert w.options().reply.voice == "alice.wav"
    assert list(w.greet_late()) == []
    assert types([json.loads(e) for e in w.encode(SpeechBegan("item_1", 7))]) == [
        "input_audio_buffer.speech_started"
    ]


def test_ogg_makes_it_unmute() -> None:
    w = either()
    pages = pages_of(ogg_opus(tone(440, 200)))
    assert [refused(w, append(p)) for p in pages][-2] == "sound"
    assert list(w.greet_late()) == []
    assert len(say(w, UPDATE)) == 3


def test_another_update_is_greeted_and_then_answered() -> None:
    w = either()
    list(w.greet())
    update = {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}
    created, options, updated = say(w, update)
    assert (created["type"], updated["type"]) == ("session.created", "session.updated")
    assert isinstance(options, SetOptions)
    assert list(w.greet_late()) == []


def test_pcm_is_heard_and_greeted_before_anything_else_is_sent() -> None:
    w = either()
    list(w.greet())
    assert w.sound(append(bytes(960))) == bytes(960)
    events = [json.loads(e) for e in w.encode(SpeechBegan("item_1", 0))]
    assert types(events) == ["session.created", "input_audio_buffer.speech_started"]
    assert list(w.greet_late()) == []


def test_a_silent_client_is_greeted_late_and_once() -> None:
    w = either()
    list(w.greet())
    assert types([json.loads(e) for e in w.greet_late()]) == ["session.created"]
    assert list(w.greet_late()) == []
    update = {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}
    assert types([s for s in say(w, update) if isinstance(s, dict)]) == ["session.updated"]


def test_a_page_on_a_slow_line_is_still_unmute_s() -> None:
    w = either()
    list(w.greet())
    assert types([json.loads(e) for e in w.greet_late()]) == ["session.created"]
    assert len(say(w, UPDATE)) == 3


def test_rubbish_is_greeted_and_refused() -> None:
    assert types(say(either(), b"{")) == ["session.created", "error"]


def test_settings_of_a_key_make_it_today_s() -> None:
    w = either()
    w.adopt({"type": "realtime", "instructions": "x"})
    (created,) = [json.loads(e) for e in w.greet()]
    assert created["session"]["instructions"] == "x"


# --- whole conversations ---
@pytest.fixture(autouse=True)
def plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake recogniser names every sound alike, for the golden transcripts."""
    monkeypatch.setattr("duologue.engines.fakes.name_of", lambda _sum: "red green blue")


async def stream(client: Client, script: str) -> None:
    """ "800 loud, 1500 quiet": a microphone that is open all the time, 20 ms a message."""
    pcm = b""
    for phase in script.split(", "):
        ms, how = phase.split()
        size = int(ms) * 24
        sound = LOUD[:size] if how == "loud" else LOUD[:size] * 0
        pcm += sound.astype("<i2").tobytes() if how == "loud" else bytes(size * 2)
    head, *pages = pages_of(ogg_opus(pcm))
    await client.act("ask", json.loads(append(head)))
    for page in pages:
        await client.act("ask", json.loads(append(page)))
        await client.act("muted", 20)


async def test_three_turns_in_unmute_s_order() -> None:
    engines = {
        "llm": FakeLlm("llm_tokens=6,llm_ms=0"),
        "tts": FakeTts("tts_s=0.4,tts_ms=0"),
        "stt": FakeStt("stt_ms=0"),
    }
    async with taped(either(), **engines) as (client, tape):
        await client.act("ask", UPDATE)
        await stream(client, "1000 quiet, 800 loud, 1600 quiet, 800 loud, 1600 quiet")
    referee = Referee()
    for event in tape.events:
        referee.see(json.dumps(event))
    assert len(tape.of("response.audio.done")) == 3
    assert [message["role"] for message in referee.history] == [
        "assistant", "user", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert len(pcm_of(referee.ogg)) > 48 * 1_150
    assert_golden("unmute_three_turns", tape.events)


async def test_an_interruption_in_unmute_s_order() -> None:
    engines = {
        "llm": FakeLlm("llm_tokens=12,llm_ms=0"),
        "tts": FakeTts("tts_s=4,tts_ms=0"),
        "stt": FakeStt("stt_ms=0"),
    }
    async with taped(either(), **engines) as (client, tape):
        await client.act("ask", UPDATE)
        await stream(client, "1500 quiet, 1000 loud, 5500 quiet")
    referee = Referee()
    for event in tape.events:
        referee.see(json.dumps(event))
    assert tape.types().index("unmute.interrupted_by_vad") < tape.types().index(
        "response.audio.done"
    )
    assert_golden("unmute_interruption", tape.events)
