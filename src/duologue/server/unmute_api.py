"""The routes that unmute's page and load-test client ask before they connect: which voices there are.

Whether engines are up, they ask of `/v1/health`, which is in `api`. Gifts of voices (`/v1/voice-donation`) are
not taken: there is no such route.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from duologue.server.answers import GUARDED, answers
from duologue.server.door import refusal

DEFAULT_VOICE = "default"
"""Whatever the loaded engine speaks in where it is asked for no voice of its own."""


class VoiceSource(BaseModel):
    """Where a voice comes from; unmute's are files, and ours are named as if they were."""

    source_type: str = "file"
    path_on_server: str = Field(description="what `session.update` calls the voice")
    description: str = "A voice of the engine that is loaded."
    description_link: str | None = None


class Voice(BaseModel):
    """A voice, in unmute's form."""

    name: str
    good: bool = True
    instructions: None = Field(default=None, description="no voice has a character of its own")
    source: VoiceSource


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes read.

    Attributes:
        voices: names that the loaded voice engine knows, as they are now; it may know none.
    """

    voices: Callable[[], Sequence[str]]


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["unmute"], responses=answers(*GUARDED))

    @router.get("/v1/voices")
    async def voices() -> list[Voice]:
        """The voices that a session can ask for, never none: the page chooses one by lot."""
        names = list(dict.fromkeys([*desk.voices()])) or [DEFAULT_VOICE]
        return [Voice(name=name, source=VoiceSource(path_on_server=name)) for name in names]

    @router.post("/v1/voices", status_code=501, responses=answers(501))
    async def clone() -> Response:
        """Make a voice from a recording: no engine that is loaded can."""
        message = (
            "None of the loaded voice engines can clone a voice. Choose one of GET /v1/voices."
        )
        return refusal(501, "voice_cloning_not_available", message)

    return router
