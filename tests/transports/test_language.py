"""A client of the Realtime protocol that asks for a language which the server's engines lack, or have."""

from typing import Any

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import ClientError
from duologue.engines.languages import lacking
from duologue.engines.pocketsphinx.engine import SPEC as POCKETSPHINX
from duologue.engines.voices.espeak import SPEC as ESPEAK
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.scripted import connected

Chains = dict[Role, tuple[Capabilities, ...]]

EMBEDDED: Chains = {Role.STT: (POCKETSPHINX.capabilities,), Role.TTS: (ESPEAK.capabilities,)}
WITH_WHISPER: Chains = {
    **EMBEDDED,
    Role.STT: (Capabilities(languages=("en", "zh")), *EMBEDDED[Role.STT]),
}


async def seen(chains: Chains, *languages: str) -> list[dict[str, Any]]:
    """What comes after the session's own beginning, for each language that is asked for."""

    def told(role: Role, language: str) -> ClientError | None:
        return lacking(role, language, chains[role])

    dialect = RealtimeWire(SessionDocument("s", "m", "i"))
    async with connected(dialect) as (client, wire):
        client._connection._world.lacking = told
        for number, language in enumerate(languages):
            sound = {"input": {"transcription": {"model": "whisper-1", "language": language}}}
            update = {"type": "realtime", "audio": sound}
            event = {"type": "session.update", "event_id": f"e{number}", "session": update}
            await client.act("ask", event)
        return [event for event in wire.referee.seen if event["type"] != "session.created"]


async def test_the_embedded_recogniser_says_what_would_add_chinese() -> None:
    error, updated = await seen(EMBEDDED, "zh")
    assert updated["type"] == "session.updated"
    assert updated["session"]["audio"]["input"]["transcription"]["language"] == "zh"
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["code"] == "language_not_available"
    assert (error["error"]["event_id"], error["error"]["param"]) == ("e0", "language")
    assert "duologue[whisper]" in error["error"]["message"]


async def test_stock_clients_and_servers_with_the_language_hear_nothing_of_it() -> None:
    for chains, languages in ((EMBEDDED, ("en", "en-US")), (WITH_WHISPER, ("zh", "en", "zh-CN"))):
        events = await seen(chains, *languages)
        assert [event["type"] for event in events] == ["session.updated"] * len(languages)
