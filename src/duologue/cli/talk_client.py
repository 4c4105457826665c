"""The conversation of `duologue talk`: one Realtime connection, what is said on it, and what each turn took."""

import argparse
import asyncio
import base64
import json
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from duologue.cli.talk_sound import FRAME_MS, RATE_HZ, Files, Microphone, Silent, Speakers, WavFile
from duologue.core.errors import SetupError

STAGES = (
    ("end_of_turn", "end of turn"),
    ("final_transcript", "transcript"),
    ("first_token", "first token"),
    ("first_sound", "first sound"),
    ("first_sent", "sent"),
)


class Connection:
    """Where the server is, and how to get in."""

    def __init__(self, url: str, api_key: str, model: str, *, insecure: bool) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.netloc:
            raise SetupError(
                "url_invalid",
                f"'{url}' is no address of a server.",
                remedy="Write it as http://HOST:PORT or https://HOST:PORT.",
            )
        is_secure = parts.scheme in ("https", "wss")
        self.http = f"{'https' if is_secure else 'http'}://{parts.netloc}"
        self.ws = (
            f"{'wss' if is_secure else 'ws'}://{parts.netloc}/v1/realtime?model={quote(model)}"
        )
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.tls: ssl.SSLContext | None = ssl.create_default_context() if is_secure else None
        if self.tls is not None and insecure:
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE

    def turns(self) -> list[dict[str, Any]]:
        """The server's own account of its latest turns; empty if it gives none."""
        request = urllib.request.Request(f"{self.http}/v1/turns?limit=5", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=2, context=self.tls) as answer:
                turns: list[dict[str, Any]] = json.load(answer)["turns"]
        except (OSError, ValueError, KeyError):
            return []
        return turns


class Conversation:
    """Sends what is heard, plays what is said, prints both."""

    def __init__(
        self,
        link: Connection,
        source: Files | Microphone,
        sink: Silent | Speakers,
        saved: WavFile | None,
        args: argparse.Namespace,
        say: Callable[[str], None] = print,
    ) -> None:
        self._link = link
        self._source = source
        self._sink = sink
        self._saved = saved
        self._args = args
        self._say = say
        self._turns = 0
        self._answered = 0
        self._user_item = ""
        self._playing: tuple[str, float] | None = None  # item, ms received of it
        self._over = asyncio.Event()
        self._done = asyncio.Event()

    async def run(self) -> int:
        """Talk; returns how many recordings were not answered."""
        try:
            socket = await connect(
                self._link.ws,
                additional_headers=self._link.headers,
                ssl=self._link.tls,
                max_size=None,
            )
        except InvalidStatus as error:
            raise _refused(error) from error
        except InvalidMessage as error:
            raise SetupError(
                "server_speaks_otherwise",
                f"What listens at {self._link.http} does not speak HTTP.",
                remedy="If it speaks https, say --url https://…",
            ) from error
        except ssl.SSLError as error:
            raise _tls_failed(self._link.http, error) from error
        self._sink.start()
        try:
            async with socket, asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(self._receive(socket))
                sending = tasks.create_task(self._send(socket))
                watching = tasks.create_task(self._watch())
                await self._over.wait()
                for task in (receiving, sending, watching):
                    task.cancel()
        finally:
            self._sink.stop()
        return self._source.turns - self._answered if self._source.turns else 0

    # --- out ---
    async def _send(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "session.update", "session": self._session()}))
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            async for frame in self._source.frames():
                event = {
                    "type": "input_audio_buffer.append",
                    "audio": base64.b64encode(frame).decode(),
                }
                await socket.send(json.dumps(event))
                due += FRAME_MS / 1000
                if self._source.turns:
                    await asyncio.sleep(max(0.0, due - loop.time()))
        except ConnectionClosed:
            pass
        self._over.set()

    def _session(self) -> dict[str, Any]:
        args = self._args
        transcription = {"model": "duologue"}
        if args.language:
            transcription["language"] = args.language
        if args.hints:
            transcription["prompt"] = args.hints
        session: dict[str, Any] = {
            "type": "realtime",
            "audio": {
                "input": {
                    "transcription": transcription,
                    "turn_detection": {"type": "semantic_vad"},
                }
            },
        }
        if args.instructions:
            session["instructions"] = args.instructions
        if args.voice:
            session["audio"]["output"] = {"voice": args.voice}
        return session

    async def _watch(self) -> None:
        """Give a recording up that is not answered, and go on when an answer was heard."""
        if not isinstance(self._source, Files):
            return
        for _ in range(self._source.turns):
            try:
                await self._source.spoken()
                async with asyncio.timeout(self._args.wait_s):
                    await self._done.wait()
            except TimeoutError:
                self._say(f"  (no answer within {self._args.wait_s:g} s)")
            self._done.clear()
            await asyncio.sleep(self._sink.left_ms() / 1000 + 0.3)
            self._source.answered()

    # --- in ---
    async def _receive(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                await self._handle(socket, json.loads(message))
        except ConnectionClosed:
            pass
        reason = socket.close_reason or f"code {socket.close_code}"
        if not self._over.is_set():
            self._say(f"  (the server closed the connection: {reason})")
        self._over.set()

    async def _handle(self, socket: ClientConnection, event: dict[str, Any]) -> None:
        match event["type"]:
            case "response.output_audio.delta":
                self._hear(event["item_id"], base64.b64decode(event["delta"]))
            case "input_audio_buffer.speech_started":
                await self._interrupt(socket)
            case "input_audio_buffer.committed":
                self._user_item = event["item_id"]
            case "conversation.item.input_audio_transcription.completed":
                self._say(f"you       > {event['transcript'] or '(nothing understood)'}")
                if not event["transcript"]:
                    self._done.set()  # there will be no answer
            case "conversation.item.input_audio_transcription.failed":
                self._say(f"you       ! {event['error'].get('message')}")
                self._done.set()
            case "response.output_audio_transcript.delta":
                self._say(f"duologue  < {event['delta'].strip()}")
            case "response.done":
                await self._finish(event["response"])
            case "error":
                self._say(f"  ! {event['error']['message']} ({event['error']['code']})")
            case _:
                pass

    def _hear(self, item_id: str, pcm: bytes) -> None:
        _, before = self._playing if self._playing and self._playing[0] == item_id else ("", 0.0)
        self._playing = (item_id, before + len(pcm) * 500 / RATE_HZ)
        self._sink.play(pcm)
        if self._saved is not None:
            self._saved.write(pcm)

    async def _interrupt(self, socket: ClientConnection) -> None:
        """The user speaks: fall silent, and tell the server how much was heard."""
        left_ms = self._sink.left_ms()
        self._sink.flush()
        if self._playing is None or left_ms <= 0:
            return
        item_id, received_ms = self._playing
        heard_ms = max(0, int(received_ms - left_ms))
        self._say(f"          x interrupted after {heard_ms} ms")
        event = {
            "type": "conversation.item.truncate",
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": heard_ms,
        }
        await socket.send(json.dumps(event))

    async def _finish(self, response: dict[str, Any]) -> None:
        status = response["status"]
        if status == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            self._say(f"  ! the answer failed: {error.get('message')} ({error.get('code')})")
        if status == "cancelled":
            return
        self._turns += 1
        self._answered += status == "completed"
        turns = await asyncio.to_thread(self._link.turns)
        mine = next((t for t in turns if t["item_id"] == self._user_item), None)
        if mine is not None:
            self._say(f"  turn {self._turns}: {waterfall(mine['waterfall_ms'])}")
        self._done.set()


def waterfall(marks: dict[str, float]) -> str:
    """End of speech -> each stage, with the time that it added."""
    text, before = "end of speech", 0.0
    for name, words in STAGES:
        if name in marks:
            text += f" → {words} +{max(0.0, marks[name] - before):.0f}"
            before = max(before, marks[name])
    return f"{text} = {before:.0f} ms"


def _tls_failed(address: str, error: ssl.SSLError) -> SetupError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return SetupError(
            "certificate_not_trusted",
            f"The certificate of {address} is not trusted: {error.verify_message}.",
            remedy="For a certificate that the server made itself (--tls auto), say --insecure.",
        )
    return SetupError(
        "server_speaks_otherwise",
        f"What listens at {address} does not speak TLS.",
        remedy="Say --url http://… if it is a server without --tls.",
    )


def _refused(error: InvalidStatus) -> SetupError:
    """A refusal at the door, in the server's own words."""
    try:
        body = json.loads(error.response.body or b"{}")["error"]
        message, code = body["message"], body["code"]
    except (ValueError, KeyError, TypeError):
        message, code = f"HTTP {error.response.status_code}", "refused"
    remedy = "Give the server's key with --api-key." if error.response.status_code == 401 else ""
    return SetupError(str(code), f"The server refused the connection: {message}", remedy=remedy)
