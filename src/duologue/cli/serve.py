"""`duologue serve`: run the server, say when it is ready and what it is good for."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from duologue import __version__

if TYPE_CHECKING:
    from duologue.app.house import House

GRADES = {
    "pocketsphinx": "command grade: short, plain commands, in English",
    "skills": "offline skills (time, sums, units, timers); no language model",
    "espeak": "understandable, robotic",
    "flite": "clear, robotic",
}


def parser() -> argparse.ArgumentParser:
    """The options; each can also be set as DUOLOGUE_<NAME>, or in duologue.toml."""
    p = argparse.ArgumentParser(
        prog="duologue serve",
        description="Run the server. Every option is also DUOLOGUE_<NAME> in the environment and "
        "<name> in ./duologue.toml; the command line wins.",
        argument_default=argparse.SUPPRESS,
    )
    p.add_argument("--host", help="address to bind (127.0.0.1); others need --api-key or --no-auth")
    p.add_argument("--port", type=int, help="port (8000); 0 for any free one")
    p.add_argument("--api-key", help="keys that open the server, separated by commas")
    p.add_argument("--no-auth", action="store_true", help="nobody needs a key, from anywhere")
    p.add_argument("--origin", help="web origins that may use it, separated by commas; * for all")
    p.add_argument(
        "--tls", metavar="auto|CERT,KEY", help="https/wss; auto: a self-made certificate"
    )
    p.add_argument(
        "--engines", choices=("embedded", "fake"), help="which set of engines (embedded)"
    )
    p.add_argument("--fake", metavar="POLICY", help="stt_ms=0,llm_tokens=20,tts_s=2,fail=0.01,…")
    p.add_argument(
        "--stt", metavar="NAME[:ARG],…", help="recognisers, best first: whisper:base,embedded"
    )
    p.add_argument("--tts", metavar="NAME[:ARG],…", help="voices, best first: kokoro:NAME,embedded")
    p.add_argument(
        "--turn-end",
        metavar="NAME[:ARG]",
        help="judge of turns by their sound; none for none (smart-turn, where its file is)",
    )
    p.add_argument(
        "--llm", metavar="NAME[:ARG],…", help="models, best first: openai:URL|MODEL,embedded"
    )
    p.add_argument("--llm-url", help="OpenAI-compatible server: http://127.0.0.1:11434/v1")
    p.add_argument("--llm-model", help="its model; the first one if not said")
    p.add_argument("--llm-api-key", help="its key (better: DUOLOGUE_LLM_API_KEY)")
    p.add_argument("--instructions", help="the default system prompt")
    _add_manners(p)
    _add_sessions(p)
    p.add_argument("--max-sessions", type=int, help="conversations at a time (200)")
    p.add_argument(
        "--max-sessions-per-key", type=int, help="of a key without a limit of its own (none)"
    )
    p.add_argument(
        "--requests-per-minute", type=int, help="of a key without a limit of its own (none)"
    )
    p.add_argument("--lead-ms", type=int, help="how far ahead of the listener to send (80)")
    p.add_argument(
        "--mcp-servers", metavar="URL,…", help="MCP servers that clients may name; * for any (none)"
    )
    p.add_argument("--journal-dir", help="write each session's journal here (holds what was said)")
    p.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    return p


def _add_sessions(p: argparse.ArgumentParser) -> None:
    """What is kept of sessions, and how those of the plain API are."""
    p.add_argument(
        "--database-url",
        metavar="URL",
        help="where conversations are kept; off: nowhere (SQLite; with a password better DUOLOGUE_DATABASE_URL)",
    )
    p.add_argument("--store-days", type=float, help="after a conversation's end (30); 0: for ever")
    p.add_argument("--recording-days", type=float, help="of recorded sound (7); 0: for ever")
    p.add_argument("--num-workers", type=int, help="of streaming sessions, of each kind (2)")
    p.add_argument("--chunk-duration", type=float, metavar="S", help="of their windows (2.0)")
    p.add_argument("--overlap-duration", type=float, metavar="S", help="of two windows (0.5)")
    p.add_argument("--max-chunk-size", type=int, metavar="BYTES", help="of one chunk (1 MiB)")
    p.add_argument("--sample-rate", type=int, metavar="HZ", help="of raw samples (16000)")
    p.add_argument(
        "--max-buffer-size", type=int, metavar="BYTES", help="not transcribed yet (10 MiB)"
    )
    p.add_argument("--session-timeout", type=float, metavar="S", help="without a sign (3600)")
    p.add_argument("--max-session-duration", type=float, metavar="S", help="unless renewed (3600)")


def _add_manners(p: argparse.ArgumentParser) -> None:
    """How sessions behave whose client says nothing of it."""
    p.add_argument(
        "--turns",
        choices=("patient", "balanced", "snappy"),
        help="when a turn is over, by sound and words (a fixed silence of 500 ms)",
    )
    p.add_argument("--max-turn-ms", type=int, metavar="MS", help="a longer turn is ended")
    p.add_argument("--greeting", metavar="TEXT", help="said first in every session")
    p.add_argument("--filler", metavar="TEXT", help="said where a tool takes its time")
    p.add_argument("--hang-up", action="store_true", help="the model may end a conversation")
    p.add_argument(
        "--echo",
        choices=("auto", "off", "half_duplex"),
        help="our own voice in the user's sound (auto)",
    )


def main(argv: list[str]) -> int:
    """Run until Ctrl-C; answers being spoken are finished first."""
    given = vars(parser().parse_args(argv))
    from duologue import settings as sources

    settings = sources.load(given)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from duologue.app.serving import serve

    print(f"Duologue {__version__}: loading the engines …", flush=True)
    _run(serve(settings, _banner, _offer))
    print("Duologue has stopped.", flush=True)
    return 0


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _banner(house: "House", address: str) -> None:
    """What one sees when it is ready: where, what it hears and speaks with, and how to get better."""
    from duologue.settings import data_home
    from duologue.store.opening import place_of

    lines = [f"Duologue {__version__} is ready after {house.ready_after_s:.1f} s: {address}"]
    verbs = {"stt": "hears with", "llm": "thinks with", "tts": "speaks with"}
    seen = set()
    for part in house.parts:
        if part.state == "ready" and part.role in verbs and part.role not in seen:
            seen.add(part.role)
            name = part.name.partition(":")[0]
            grade = GRADES.get(name, part.about)
            lines.append(f"  {verbs[part.role]:12s}{name} ({grade})")
    ears = next((p.name for p in house.parts if p.role == "stt" and p.state == "ready"), "")
    if ears == "pocketsphinx":
        lines.append(
            "  conversation-grade hearing: make setup EXTRAS=whisper, .venv/bin/duologue models pull base, "
            "then --stt whisper:base,pocketsphinx (README: Better ears)"
        )
    kept = place_of(house.settings.database_url, data_home())
    lines.append(
        f"  keeps what is said in {kept} (--database-url off: nowhere)"
        if kept
        else "  keeps nothing"
    )
    lines.append(f"  Realtime API: {address.replace('http', 'ws', 1)}/v1/realtime   Ctrl-C ends it")
    print("\n".join(lines), flush=True)


def _offer(name: str, url: str, models: tuple[str, ...]) -> None:
    """One line for a language model that answers on this machine."""
    model = models[0] if models else "NAME"
    print(
        f"  a language model answers at {url} ({name}): use it with "
        f"--llm-url {url} --llm-model {model}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
