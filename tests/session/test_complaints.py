"""What a session complains of has a stable code and tells the client what to do."""

import pytest

from duologue.core.errors import DuologueError, StateConflict
from duologue.session import complaints
from duologue.session.ears import MAX_PENDING_BYTES
from tests.support.stage import stage

ALL: list[tuple[DuologueError, str, str]] = [
    (complaints.buffer_full(), "input_audio_buffer_full", "client"),
    (complaints.too_little_sound(40), "input_audio_buffer_commit_empty", "client"),
    (complaints.no_responses(), "response_not_supported", "client"),
    (complaints.rate_mismatch(24_000, 16_000), "audio_rate_mismatch", "client"),
    (complaints.bug(ZeroDivisionError()), "internal_error", "us"),
]


@pytest.mark.parametrize(("error", "code", "culprit"), ALL)
def test_codes_are_those_that_clients_know(error: DuologueError, code: str, culprit: str) -> None:
    assert (error.code, error.culprit) == (code, culprit)
    assert error.message.endswith(".") or error.remedy


def test_figures_are_those_of_the_client() -> None:
    assert "only has 40ms" in complaints.too_little_sound(40).message
    remedy = complaints.rate_mismatch(24_000, 16_000).remedy
    assert remedy is not None
    assert "rate 16000" in remedy
    assert "to 24000 Hz" in remedy


def test_a_bug_is_told_by_its_kind_and_not_by_what_was_said() -> None:
    told = complaints.bug(ValueError("my secret is 42"))
    assert "ValueError" in told.message
    assert "secret" not in f"{told.message} {told.remedy}"


async def test_more_sound_than_can_be_kept_is_refused_and_none_of_it_taken() -> None:
    async with stage() as s:
        with pytest.raises(StateConflict) as caught:
            s.session.hear(bytes(MAX_PENDING_BYTES + 2))
        assert caught.value.code == "input_audio_buffer_full"
        assert s.session.ears.uncommitted_ms == 0
        await s.turn()
        assert s.ear.frames  # the conversation goes on
