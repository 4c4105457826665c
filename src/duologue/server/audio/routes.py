"""The routes of OpenAI's audio interface, and of what is asked for beside it and answered elsewhere."""

from typing import Any

from fastapi import APIRouter, Request, Response

from duologue.server.answers import GUARDED, answers, events, text
from duologue.server.audio import speaking, upload
from duologue.server.audio.desk import AudioDesk, Seats
from duologue.server.audio.encode import KINDS
from duologue.server.audio.listening import Listening
from duologue.server.audio.outlet import EVENTS, Errand, Outlet
from duologue.server.audio.recording import Judge
from duologue.server.audio.refusals import Refusal
from duologue.server.audio.speaking import Speaker, Speech
from duologue.server.audio.transcribing import FORMATS, Transcriber, wanted

JSON_TYPE = "application/json"

_DOCUMENTS = {JSON_TYPE: {"schema": {"type": "object"}}, **text("text/plain")}
_SPEECH = text(*(kind.media_type for kind in KINDS.values())) | events()


def routes(desk: AudioDesk) -> APIRouter:
    """The routes; errors need `refusals.install_errors` on the application."""
    found = APIRouter(tags=["audio"], responses=answers(400, 408, 413, 500, *GUARDED))
    _add_files(found, desk)
    _add_speech(found, desk)
    _add_elsewhere(found)
    return found


def _add_files(found: APIRouter, desk: AudioDesk) -> None:
    transcriber = Transcriber(Listening(desk.pool, Judge(desk.make_vad)), desk.recognisers)
    uploads = Seats(desk.max_uploads, "files are being received", desk.clock)
    files = Seats(desk.max_files, "files are being transcribed", desk.clock)

    async def begin(request: Request, task: str) -> Response:
        desk.check_ready()
        files.check()
        with uploads.seat():
            received = await upload.receive(request)
        try:
            what = wanted(received, task)
            transcriber.check(what)
        except Refusal:
            await received.close()
            raise

        async def work(outlet: Outlet) -> Response | None:
            with files.seat():
                return await transcriber.answer(received, what, outlet)

        return Errand(work, EVENTS if what.streams else JSON_TYPE, received.close)

    @found.post(
        "/v1/audio/transcriptions",
        responses=answers(good=_DOCUMENTS | events()),
        openapi_extra=_form("transcribe"),
    )
    async def transcriptions(request: Request) -> Response:
        """A file's speech as text. Any `model` is accepted: the engine that is loaded answers."""
        return await begin(request, "transcribe")

    @found.post(
        "/v1/audio/translations",
        responses=answers(good=_DOCUMENTS),
        openapi_extra=_form("translate"),
    )
    async def translations(request: Request) -> Response:
        """A file's speech as English text, where the engine can."""
        return await begin(request, "translate")


def _add_speech(found: APIRouter, desk: AudioDesk) -> None:
    speaker = Speaker(desk.pool)
    speeches = Seats(desk.max_speeches, "texts are being spoken", desk.clock)

    @found.post(
        "/v1/audio/speech",
        response_class=Response,
        responses=answers(good=_SPEECH),
        openapi_extra=_body(Speech.model_json_schema()),
    )
    async def speech(request: Request) -> Response:
        """A text as speech, sent while it is spoken. Any `model` is accepted; an unknown `voice` is the default."""
        desk.check_ready()
        asked = await speaking.receive(request)

        async def work(outlet: Outlet) -> None:
            with speeches.seat():
                await speaker.answer(asked, outlet)

        return Errand(work, asked.media_type)


def _add_elsewhere(found: APIRouter) -> None:
    """A client whose base URL is this server for everything is told where its language model is."""

    async def elsewhere(request: Request) -> Response:
        message = (
            f"Duologue serves conversations and audio; {request.url.path[:100]} is not served here. "
            "Ask your language model's own server: the one that this server is given with --llm-url "
            "(DUOLOGUE_LLM_URL)."
        )
        raise Refusal(404, "not_served_here", message)

    for path in ("/v1/chat/completions", "/v1/responses"):
        for each in (path, f"{path}/{{rest:path}}"):
            found.add_api_route(
                each, elsewhere, methods=["GET", "POST", "DELETE"], include_in_schema=False
            )


# --- as they are described in /docs ---
def _form(task: str) -> dict[str, Any]:
    text, flag = {"type": "string"}, {"type": "boolean"}
    fields: dict[str, Any] = {
        "file": {"type": "string", "format": "binary"},
        "model": text,
        "prompt": {**text, "description": "phrases that are likely to be said"},
        "response_format": {"type": "string", "enum": list(FORMATS), "default": "json"},
        "temperature": {"type": "number"},
    }
    if task == "transcribe":
        several = {"type": "array", "items": text}
        fields |= {
            "language": text,
            "timestamp_granularities[]": several,
            "include[]": several,
            "stream": flag,
        }
    schema = {"type": "object", "required": ["file", "model"], "properties": fields}
    return {"requestBody": {"required": True, "content": {upload.MULTIPART: {"schema": schema}}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {JSON_TYPE: {"schema": schema}}}}
