"""Which dialect a client means, by how it knocks."""

import pytest

from duologue.wire.choosing import BETA, GA, UNMUTE, Choice, Resume, choose

KEY = "openai-insecure-api-key.sk-1"


@pytest.mark.parametrize(
    ("query", "headers", "subprotocols", "dialect", "answered"),
    [
        ({"model": "m"}, {"authorization": "Bearer x"}, (), GA, None),  # python clients
        ({"model": "m"}, {}, ("realtime",), GA, "realtime"),  # a page with a model
        ({"model": "m"}, {}, ("realtime", KEY), GA, "realtime"),
        ({}, {}, ("realtime", KEY), GA, "realtime"),
        ({}, {"authorization": "Bearer x"}, ("realtime",), GA, "realtime"),
        ({}, {}, (), GA, None),
        ({}, {}, ("realtime",), UNMUTE, "realtime"),  # unmute's page and its load test
        ({"model": "m"}, {"openai-beta": "realtime=v1"}, (), BETA, None),
        ({"model": "m"}, {"openai-beta": "assistants=v2, realtime=v1"}, (), BETA, None),
        ({"model": "m"}, {}, ("realtime", KEY, "openai-beta.realtime-v1"), BETA, "realtime"),
        ({"model": "m"}, {"openai-beta": "assistants=v2"}, (), GA, None),
        ({}, {}, ("realtime", "duologue.v1"), GA, "duologue.v1"),
        ({}, {}, ("duologue.v1", KEY), GA, "duologue.v1"),
        ({}, {"openai-beta": "realtime=v1"}, ("duologue.v1",), GA, "duologue.v1"),
        ({}, {}, ("realtime", "duologue.v2"), UNMUTE, "realtime"),
    ],
)
def test_a_client_is_known_by_how_it_asks(
    query: dict[str, str],
    headers: dict[str, str],
    subprotocols: tuple[str, ...],
    dialect: str,
    answered: str | None,
) -> None:
    choice = choose(query, headers, subprotocols)
    assert (choice.dialect, choice.subprotocol) == (dialect, answered)


def test_model_and_intent_come_from_the_address() -> None:
    choice = choose({"model": "m", "intent": "transcription"}, {}, ())
    assert choice == Choice(GA, None, "m", "transcription")


@pytest.mark.parametrize(
    ("offered", "resume"),
    [
        ((), None),
        (("duologue-resume.to-k_en.12",), Resume("to-k_en", 12)),
        (("duologue-resume.a.b.0",), Resume("a.b", 0)),
        (("duologue-resume.token",), Resume("", None)),
        (("duologue-resume.token.",), Resume("token", None)),
        (("duologue-resume.token.-1",), Resume("token", None)),
        (("duologue-resume.token.٣",), Resume("token", None)),
        (("duologue-resume.token." + "9" * 30,), Resume("token", None)),
    ],
)
def test_a_client_may_want_its_session_back(
    offered: tuple[str, ...], resume: Resume | None
) -> None:
    choice = choose({}, {}, ("duologue.v1", *offered))
    assert choice.is_extended
    assert choice.resume == resume
    plain = choose({}, {}, ("realtime", *offered))
    assert not plain.is_extended
    assert plain.resume is None
