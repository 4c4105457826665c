"""The routes of the session API: sessions are made, asked about, fed and ended here; what comes of it is told at
`transports.streaming` (a WebSocket) or as server-sent events.
"""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from duologue.core.streaming import (
    AudioChunk,
    Renew,
    TextRequest,
)
from duologue.server import streaming_bodies as shape
from duologue.server import streaming_sound, streaming_transcript
from duologue.server.answers import GUARDED, Responses, answers
from duologue.server.answers import events as described_events
from duologue.server.audio.outlet import EVENTS, Errand
from duologue.server.streaming_events import Json, Reader
from duologue.server.streaming_facade import StreamFacade, change, read_model, read_object, told
from duologue.session.streaming.session import StreamSession
from duologue.transports.streaming import PATH, number
from duologue.wire import streaming as wire
from duologue.wire.streaming_settings import RATES_HZ

ROOT = "/api/v1/audio-streaming"

JSON_TYPE = "application/json"

SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Token = Annotated[str, Query(max_length=256, description="of a session that nobody joins without")]


def stream_routes(facade: StreamFacade) -> APIRouter:
    """The routes; they stand behind the `Doorkeeper`, and errors need `refusals.install_errors`."""
    found = APIRouter(
        prefix=ROOT,
        tags=["session API"],
        responses=answers(400, *GUARDED, model=shape.Refused),
    )
    _add_sessions(found, facade)
    _add_session(found, facade)
    _add_told(found, facade)
    _add_input(found, facade)
    _add_workers(found, facade)
    return found


def _add_sessions(found: APIRouter, facade: StreamFacade) -> None:
    @found.post(
        "/sessions",
        status_code=201,
        response_model=shape.SessionMade,
        responses=_refusals(413),
        openapi_extra=_body(wire.OPTIONS_SCHEMA, required=False),
    )
    async def create(
        request: Request, language: Annotated[str, Query(max_length=35)] = ""
    ) -> Response:
        """Make a session. Settings come as a JSON object; `language` may stand in the address instead."""
        facade.check_open()
        visitor = facade.visitor_of(request)
        with told():
            options = wire.options(await read_object(request), language, facade.defaults)
            session, token = await facade.desk.create(visitor.name, options)
        facade.door.admitted(session, visitor)
        return JSONResponse(_made(session, token), 201)

    @found.get("/sessions", response_model=shape.Sessions)
    async def sessions(request: Request) -> Response:
        """Which sessions there are, and what works here."""
        owner = facade.visitor_of(request).name
        return JSONResponse(_overview(facade, owner))


def _add_session(found: APIRouter, facade: StreamFacade) -> None:
    at = "/sessions/{session_id}"

    async def stats_of(session_id: str, request: Request) -> Response:
        session = await facade.find(session_id, request)
        stats = wire.stats_json(session.stats())
        return JSONResponse({**stats, **_of(session), "stats": stats, "data": stats})

    @found.get(at, response_model=shape.SessionTold, responses=_refusals(404, 409))
    async def session(session_id: SessionId, request: Request) -> Response:
        """How a session stands."""
        return await stats_of(session_id, request)

    @found.get(f"{at}/stats", response_model=shape.SessionTold, responses=_refusals(404, 409))
    async def stats(session_id: SessionId, request: Request) -> Response:
        """The same."""
        return await stats_of(session_id, request)

    @found.delete(at, response_model=shape.Done, responses=_refusals(404, 409))
    async def end(
        session_id: SessionId,
        request: Request,
        erase: Annotated[bool, Query(description="the store forgets it, too")] = False,  # noqa: FBT002
    ) -> Response:
        """End a session."""
        owner = facade.visitor_of(request).name
        with told():
            if erase:
                await facade.desk.erase(session_id, owner)
            else:
                await facade.desk.end(session_id, owner)
        facade.door.sweep()
        done = "ended and erased" if erase else "ended"
        return JSONResponse(
            {"success": True, "session_id": session_id, "message": f"The session is {done}."}
        )

    @found.patch(
        at,
        response_model=shape.Options,
        responses=_refusals(404, 409, 413),
        openapi_extra=_body(wire.CONFIGURE_SCHEMA),
    )
    async def configure(session_id: SessionId, request: Request) -> Response:
        """Change settings, from the next utterance on."""
        with told():
            command = wire.configure(await read_object(request))
        session = await facade.find(session_id, request)
        change(session, command)
        return JSONResponse({**_of(session), "options": wire.options_json(session.options)})

    @found.post(f"{at}/renew", response_model=shape.Expiry, responses=_refusals(404, 409))
    async def renew(session_id: SessionId, request: Request) -> Response:
        """The session may last its full length again, from now."""
        session = await facade.find(session_id, request)
        change(session, Renew())
        expires_s = session.stats().expires_s
        return JSONResponse({**_of(session), **_both("expiresAt", "expires_at", expires_s)})


def _add_told(found: APIRouter, facade: StreamFacade) -> None:
    at = "/sessions/{session_id}"

    @found.get(
        f"{at}/transcript",
        response_model=shape.TranscriptTold,
        responses=_refusals(404) | answers(good=streaming_transcript.TYPES),
    )
    async def transcript(
        session_id: SessionId,
        request: Request,
        format: Annotated[streaming_transcript.Format, Query()] = "json",  # noqa: A002
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> Response:
        """What was said so far, or in a session that is over."""
        owner = facade.visitor_of(request).name
        with told():
            records, complete = await streaming_transcript.read(
                lambda number: facade.desk.records(session_id, owner, after=number), after
            )
        return streaming_transcript.document(session_id, records, format, complete=complete)

    @found.get(
        f"{at}/events",
        response_class=Response,
        responses=_refusals(403, 404, 409) | answers(good=described_events()),
    )
    async def events(
        session_id: SessionId,
        request: Request,
        after: Annotated[
            int | None, Query(ge=0, le=2**53, description="the last number that you have")
        ] = None,
        audio: Annotated[bool, Query(description="with the sound of answers")] = True,  # noqa: FBT002
        follow: Annotated[bool, Query(description="false: only what was missed")] = True,  # noqa: FBT002
        resume_token: Token = "",
        last_event_id: Annotated[str, Header()] = "",
    ) -> Response:
        """What happens in a session, as server-sent events."""
        with told():
            known = number(last_event_id, "Last-Event-ID") if last_event_id else after
        session = await facade.find(session_id, request)
        reader = Reader(lambda notice: wire.notice_json(notice, audio=audio))
        with told():
            seat = await session.join(reader.tell, token=resume_token, after=known)
        reader.is_caught_up = True
        facade.door.connections.add(reader)
        if not follow:
            reader.end()

        async def done() -> None:
            facade.door.connections.discard(reader)
            seat.leave()

        return Errand(reader.work, EVENTS, done)


def _add_input(found: APIRouter, facade: StreamFacade) -> None:
    at = "/sessions/{session_id}"

    @found.post(
        f"{at}/audio",
        response_model=shape.ChunkTaken,
        responses=_refusals(404, 409, 413, 415),
        openapi_extra=_sound(),
    )
    async def audio(
        session_id: SessionId,
        request: Request,
        chunk_index: Annotated[int | None, Query(ge=0, le=2**31)] = None,
        is_final: Annotated[bool, Query(description="the utterance ends with it")] = False,  # noqa: FBT002
        rate: Annotated[
            int | None,
            Query(
                ge=RATES_HZ[0],
                le=RATES_HZ[1],
                description="of raw samples, where it is not in the type",
            ),
        ] = None,
    ) -> Response:
        """A chunk of sound: raw 16-bit samples, or a file of any usual kind, or a part of one."""
        facade.check_open()
        session = await facade.find(session_id, request)
        sound = await streaming_sound.receive(request, facade.desk.shared.bounds.chunk_bytes)
        kind = "pcm16" if rate and not sound.format else sound.format
        chunk = AudioChunk(sound.data, chunk_index, is_final, kind, sound.rate_hz or rate or 0)
        with told():
            received = await session.receive(chunk)
        return JSONResponse({**wire.notice_json(received), "success": True})

    @found.post(
        f"{at}/text",
        status_code=202,
        response_model=shape.SpeechComing,
        responses=_refusals(404, 409, 413),
        openapi_extra=_body(shape.TextWanted.model_json_schema()),
    )
    async def say(session_id: SessionId, request: Request) -> Response:
        """Have a text said, or answered; the sound comes as an event."""
        facade.check_open()
        wanted = await read_model(request, shape.TextWanted)
        session = await facade.find(session_id, request)
        with told():
            queued = await session.ask_text(TextRequest(**wanted.model_dump()))
        return JSONResponse({**wire.notice_json(queued), "success": True}, 202)


def _add_workers(found: APIRouter, facade: StreamFacade) -> None:
    desk = facade.desk

    def numbers() -> Response:
        loads = {"transcription": desk.overview().transcription, "tts": desk.overview().tts}
        told = {name: load.number for name, load in loads.items()}
        busy = {name: asdict(load) for name, load in loads.items()}
        return JSONResponse({"success": True, **told, "load": busy})

    @found.get("/workers", response_model=shape.WorkersAt)
    async def workers() -> Response:
        """How many pieces of work are done at a time."""
        return numbers()

    @found.patch(
        "/workers",
        response_model=shape.WorkersAt,
        responses=_refusals(413),
        openapi_extra=_body(shape.WorkersWanted.model_json_schema()),
    )
    async def set_workers(request: Request) -> Response:
        """Change that, for all sessions of this server."""
        wanted = await read_model(request, shape.WorkersWanted)
        with told():
            desk.set_workers(transcription=wanted.transcription, tts=wanted.tts)
        return numbers()


# --- what is answered ---
def _made(session: StreamSession, token: str) -> Json:
    stats, path = session.stats(), f"{PATH}{session.id}"
    return {
        **_of(session),
        "language": session.options.language or "auto",
        **_both("websocketUrl", "websocket_url", path),
        **_both("resumeToken", "resume_token", token),
        **_both("expiresAt", "expires_at", stats.expires_s),
        "options": wire.options_json(session.options),
        "message": "The session is there: send its sound to websocket_url.",
    }


def _of(session: StreamSession) -> Json:
    return {"success": True, **_both("sessionId", "session_id", session.id)}


def _overview(facade: StreamFacade, owner: str) -> Json:
    seen = facade.desk.overview()
    active = [session.id for session in facade.desk.live(owner)]
    ready = [engine for engine in facade.engines() if engine.state == "ready"]
    recogniser = next((engine.name for engine in ready if engine.role == "stt"), "")
    speaks = any(engine.role == "tts" for engine in ready)
    service = {
        **_both("isInitialized", "is_initialized", seen.is_initialized),
        **_both("ttsInitialized", "tts_initialized", speaks),
        **_both("modelSize", "model_size", recogniser),
        "device": facade.device(),
        **_both("transcriptionWorkers", "transcription_workers", seen.transcription.number),
        **_both("ttsWorkers", "tts_workers", seen.tts.number),
    }
    overview = {
        **_both("totalSessions", "total_sessions", seen.total_sessions),
        **_both("activeSessions", "active_sessions", active),
        **_both("serviceStatus", "service_status", service),
    }
    return {"success": True, **overview, "stats": overview}


def _both(camel: str, snake: str, value: Any) -> Json:
    return {camel: value, snake: value}


# --- as they are described ---
def _refusals(*statuses: int) -> Responses:
    return answers(*statuses, model=shape.Refused)


def _body(schema: Json, *, required: bool = True) -> Json:
    return {"requestBody": {"required": required, "content": {JSON_TYPE: {"schema": schema}}}}


def _sound() -> Json:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary["schema"]}}
    kinds = ("audio/pcm", "audio/L16", "audio/wav", "audio/webm", "application/octet-stream")
    content = {**dict.fromkeys(kinds, binary), streaming_sound.FORM: {"schema": form}}
    return {"requestBody": {"required": False, "content": content}}
