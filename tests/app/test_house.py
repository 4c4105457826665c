"""A house is what its settings say; nothing of it is loaded before it runs."""

import pytest

from duologue.app.house import build
from duologue.core.errors import DuologueError
from duologue.settings import Settings
from duologue.wire.choosing import GA


def test_engines_are_those_that_the_settings_name() -> None:
    house = build(Settings(engines="fake", fake="stt_ms=5"))
    assert [(s.role, s.name, s.state) for s in house.engine_states()] == [
        ("vad", "silero", "waiting"),
        ("stt", "fake-stt:stt_ms=5", "waiting"),
        ("tts", "fake-tts:stt_ms=5", "waiting"),
        ("llm", "fake-llm:stt_ms=5", "waiting"),
    ]
    assert not house.reception.is_open


def test_several_engines_of_a_role_stand_in_the_order_of_preference() -> None:
    house = build(Settings(stt="fake-stt,pocketsphinx", tts="fake-tts", llm_url="http://x/v1"))
    names = [(s.role, s.name) for s in house.engine_states()]
    assert names == [
        ("vad", "silero"),
        ("stt", "fake-stt"),
        ("stt", "pocketsphinx"),
        ("tts", "fake-tts"),
        ("llm", "openai"),
        ("turn", "smart-turn"),
    ]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (Settings(stt="nobody"), "engine_unknown"),
        (Settings(tts="fake-stt"), "engine_unknown"),
        (Settings(tts=","), "setting_invalid"),
        (Settings(engines="fake", fake="nonsense=1"), "fake_policy_invalid"),
        (Settings(journal_dir="/proc/nowhere"), "journal_dir_unusable"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(settings: Settings, code: str) -> None:
    with pytest.raises(DuologueError) as caught:
        build(settings)
    assert caught.value.code == code


def test_every_dialect_is_served() -> None:
    from duologue.app.doors import dialects

    assert GA in dialects(Settings())
