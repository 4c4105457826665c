"""The HTTP routes, made into one application by `create_api`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from duologue import __version__
from duologue.server import unmute_api
from duologue.server.answers import GUARDED, answers, document, text
from duologue.server.audio.desk import AudioDesk
from duologue.server.audio.refusals import install_errors
from duologue.server.audio.routes import routes as audio_routes
from duologue.server.auth import Denied, Guard
from duologue.server.calls_api import VisitorOf, call_routes
from duologue.server.described import described
from duologue.server.door import Doorkeeper, denial
from duologue.server.engine_state import EngineState
from duologue.server.metrics import CONTENT_TYPE, Metrics
from duologue.server.secrets_api import Effective, client_secret_routes
from duologue.server.streaming_api import stream_routes
from duologue.server.streaming_facade import StreamFacade
from duologue.session.meters import Meters
from duologue.transports.webrtc import Switchboard

OPEN_PATHS = frozenset(
    {"/", "/health", "/ready", "/v1/health", "/docs", "/openapi.json", "/favicon.ico"}
)
"""Answered without a key: they tell nothing of anybody."""


class Readiness(BaseModel):
    """Whether sessions are taken."""

    ready: bool
    engines: list[EngineState]
    first_turn: str = Field(
        default="", description="why the first spoken turn, before any session, keeps failing"
    )


class Health(BaseModel):
    """The same by role, as unmute's clients ask for it."""

    ok: bool
    vad_up: bool
    stt_up: bool
    llm_up: bool
    tts_up: bool
    voice_cloning_up: bool = False
    sessions: int
    version: str
    engines: list[EngineState]
    memory: dict[str, Any] = Field(
        default_factory=dict,
        description="of the GPUs and of each engine, as `duologue gpu` shows it",
    )


class Model(BaseModel):
    """A model, as OpenAI's API lists it."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "duologue"


class Models(BaseModel):
    """All of them."""

    object: str = "list"
    data: list[Model]


class Turns(BaseModel):
    """The latest turns, newest first; nothing that anybody said."""

    turns: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Facade:
    """What the routes read.

    Attributes:
        engines: their states, as they are now.
        first_turn: why it keeps failing; empty if it does not.
        models: names that `/v1/models` lists.
        streaming: the session API's side; None where it is not served.
    """

    guard: Guard
    meters: Meters
    metrics: Metrics
    engines: Callable[[], list[EngineState]]
    is_ready: Callable[[], bool]
    models: Callable[[], list[str]]
    effective_session: Effective
    audio: AudioDesk
    calls: Switchboard
    visitor_of: VisitorOf
    voices: Callable[[], Sequence[str]] = tuple
    first_turn: Callable[[], str] = str
    memory: Callable[[], dict[str, Any]] = dict
    streaming: StreamFacade | None = None


def create_api(facade: Facade) -> FastAPI:
    """The application; the audio socket is not part of it (`transports.websocket`)."""
    api = FastAPI(
        title="Duologue",
        version=__version__,
        summary="Spoken conversation, self-hosted.",
        docs_url=None,  # its pages are made of scripts from elsewhere
        redoc_url=None,
    )
    page = (files("duologue") / "server" / "page.html").read_text(encoding="utf-8")

    api.add_middleware(Doorkeeper, guard=facade.guard, open_paths=OPEN_PATHS)
    api.add_middleware(  # outside of the door: a browser asks without a key whether it may ask with one
        CORSMiddleware,
        allow_origins=sorted(facade.guard.origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After"],
    )

    @api.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page)

    @api.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(described(api.openapi()))

    api.include_router(_health_routes(facade))
    api.include_router(_model_routes(facade))
    api.include_router(_insight_routes(facade))
    api.include_router(client_secret_routes(facade.guard.secrets, facade.effective_session))
    api.include_router(audio_routes(facade.audio))
    api.include_router(call_routes(facade.calls, facade.visitor_of))
    api.include_router(unmute_api.routes(unmute_api.Desk(facade.voices)))
    if facade.streaming is not None:
        api.include_router(stream_routes(facade.streaming))
    install_errors(api)
    document(api)
    return api


def _health_routes(facade: Facade) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health", summary="Is the process alive?")
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @routes.get("/ready", response_model=Readiness, responses={503: {"model": Readiness}})
    async def ready() -> Response:
        """Are all engines loaded, and have they run?"""
        is_ready = facade.is_ready()
        body = Readiness(ready=is_ready, engines=facade.engines(), first_turn=facade.first_turn())
        return JSONResponse(body.model_dump(), 200 if is_ready else 503)

    @routes.get("/v1/health")
    async def health_by_role() -> Health:
        """Which parts work."""
        engines = facade.engines()
        up = {e.role for e in engines if e.state == "ready"}
        return Health(
            ok=facade.is_ready(),
            vad_up="vad" in up,
            stt_up="stt" in up,
            llm_up="llm" in up,
            tts_up="tts" in up,
            sessions=facade.meters.live,
            version=__version__,
            engines=engines,
            memory=facade.memory(),
        )

    return routes


def _model_routes(facade: Facade) -> APIRouter:
    routes = APIRouter(tags=["models"], responses=answers(*GUARDED))
    started = int(time.time())

    @routes.get("/v1/models")
    async def models() -> Models:
        """Names that a client may ask for; whichever it asks for, the loaded engines answer."""
        return Models(data=[Model(id=name, created=started) for name in facade.models()])

    @routes.get("/v1/models/{model_id}", response_model=Model, responses=answers(404))
    async def model(model_id: str) -> Model | Response:
        """One of them."""
        if model_id in facade.models():
            return Model(id=model_id, created=started)
        message = f"The model '{model_id}' does not exist here."
        return denial(Denied(404, "model_not_found", message))

    return routes


def _insight_routes(facade: Facade) -> APIRouter:
    routes = APIRouter(tags=["insight"], responses=answers(*GUARDED))

    @routes.get("/v1/turns", responses=answers(400))
    async def turns(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Turns:
        """The waterfall of each of the latest turns, with the reason of every decision."""
        latest = list(facade.meters.turns)[-limit:]
        return Turns(turns=[turn.as_dict() for turn in reversed(latest)])

    @routes.get("/metrics", response_class=Response, responses=answers(good=text(CONTENT_TYPE)))
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(facade.metrics.text(), media_type=CONTENT_TYPE)

    return routes
