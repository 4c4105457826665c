"""`duologue engine-server`: lend one engine to servers on other machines."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any

from duologue import __version__

ROLES = ("stt", "tts")


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue engine-server",
        description="Serve one engine to `duologue serve` on other machines, which name it as "
        "--stt ws://HOST:PORT or --tts ws://HOST:PORT. /health, /ready and /metrics are on the same port.",
    )
    p.add_argument("--role", required=True, choices=ROLES, help="what the engine does")
    p.add_argument("--engine", required=True, metavar="NAME[:ARG]", help="whisper:base@cuda:0")
    p.add_argument(
        "--host", default="127.0.0.1", help="address to bind (127.0.0.1); others need a token"
    )
    p.add_argument("--port", type=int, default=9_000, help="port (9000); 0 for any free one")
    p.add_argument("--token", help="what clients must bear (better: DUOLOGUE_ENGINE_TOKEN)")
    p.add_argument("--no-auth", action="store_true", help="nobody needs a token, from anywhere")
    p.add_argument("--tls", default="", metavar="CERT,KEY", help="wss, with these PEM files")
    p.add_argument(
        "--max-streams", type=int, default=0, help="at a time (as many as the engine serves)"
    )
    p.add_argument("--models-dir", help="where models are (the user's data directory)")
    p.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="(info)"
    )
    return p


def main(argv: list[str]) -> int:
    """Run until SIGINT or SIGTERM; streams that are open are finished first."""
    command = parser()
    args = command.parse_args(argv)
    if not 0 <= args.port <= 65_535:
        command.error("--port is a number from 0 to 65535")
    if args.max_streams < 0:
        command.error("--max-streams is a number of streams")
    from duologue import settings
    from duologue.app.engine_server import EngineServing, serve_engine
    from duologue.core.capabilities import Role

    given = {"models_dir": args.models_dir} if args.models_dir else {}
    found = settings.load({"no_auth": True, **given})
    serving = EngineServing(
        role=Role(args.role),
        engine=args.engine,
        models=found.models_folder,
        audio_api_key=found.audio_api_key,
        host=args.host,
        port=args.port,
        token=found.engine_token if args.token is None else args.token,
        no_auth=args.no_auth,
        tls=args.tls,
        max_streams=args.max_streams,
    )
    logging.basicConfig(
        level=args.log_level.upper(), format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    print(f"Duologue {__version__}: loading {args.engine} …", flush=True)

    def on_ready(address: str, streams: int) -> None:
        print(f"{args.role} {args.engine} is ready, {streams} streams: {address}", flush=True)

    broken_off = _run(serve_engine(serving, on_ready))
    print(
        f"The engine server has stopped{f'; {broken_off} streams were broken off' * bool(broken_off)}.",
        flush=True,
    )
    return 0


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        broken_off: int = runner.run(work)
        return broken_off


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
