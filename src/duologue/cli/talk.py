"""`duologue talk`: a real client, with microphone and speakers or recorded files; shows what each turn took."""

import argparse
import asyncio
import sys
from pathlib import Path

from duologue import settings
from duologue.core.errors import SetupError

EXIT_UNANSWERED = 1


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue talk",
        description="Talk to a Duologue server (or any that speaks the OpenAI Realtime protocol). "
        "Without --file the microphone is used; wear headphones, or it hears its own answers. "
        "Exit code 1 if a file was not answered.",
    )
    p.add_argument("--url", default="http://127.0.0.1:8000", help="the server (%(default)s)")
    p.add_argument("--file", nargs="+", type=Path, metavar="FILE", help="recordings, one turn each")
    p.add_argument("--save", type=Path, metavar="WAV", help="write the answers' sound here")
    p.add_argument("--api-key", default="", help="the server's key (or DUOLOGUE_API_KEY)")
    p.add_argument("--model", default="duologue", help="model to ask for (%(default)s)")
    p.add_argument("--voice", default="", help="voice to ask for")
    p.add_argument("--instructions", default="", help="system prompt of this conversation")
    p.add_argument("--hints", default="", help="phrases that will be said, separated by commas")
    p.add_argument("--language", default="", help="of your speech, as en or de")
    p.add_argument(
        "--wait-s", type=float, default=15.0, help="for an answer to each recording (%(default)s)"
    )
    p.add_argument("--insecure", action="store_true", help="accept a self-made certificate")
    return p


def main(argv: list[str]) -> int:
    """Talk until the files are through, or Ctrl-C."""
    args = parser().parse_args(argv)
    args.api_key = args.api_key or settings.variable("API_KEY")
    from duologue.cli.talk_client import Connection, Conversation
    from duologue.cli.talk_sound import Files, Microphone, Silent, Speakers, WavFile

    if args.file:
        source: Files | Microphone = Files(args.file)
        sink: Silent | Speakers = Silent()
    else:
        source, sink = Microphone(), Speakers()
    saved = WavFile(args.save) if args.save else None
    link = Connection(args.url, args.api_key, args.model, insecure=args.insecure)
    conversation = Conversation(link, source, sink, saved, args)
    try:
        unanswered = asyncio.run(conversation.run())
    except OSError as error:
        raise SetupError(
            "server_unreachable",
            f"There is no server at {args.url}: {error}.",
            remedy="Start one with `make serve` or `duologue serve`, or name it with --url.",
        ) from error
    finally:
        if saved is not None:
            saved.close()
    return EXIT_UNANSWERED if unanswered else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
