"""What a session tells its listener, as events of the OpenAI Realtime protocol (GA), in their documented order."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from duologue.core.conversation import ApprovalRequest, Message, ServerCall
from duologue.core.errors import DuologueError
from duologue.core.facts import AskId
from duologue.core.notices import (
    ArgumentsGrew,
    Cleared,
    Committed,
    IdleTimedOut,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    ListingBegan,
    ListingEnded,
    Notice,
    OutputBegan,
    OutputEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    ServerCallBegan,
    ServerCallEnded,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.wire.items import item_json
from duologue.wire.session_document import SessionDocument
from duologue.wire.session_options import DEFAULT_VOICE, format_json

Event = dict[str, Any]
Told = tuple[str, Event]
"""An event's type, and its fields but for the event's own id."""


def error_json(error: DuologueError, event_id: str | None) -> Event:
    """The body of an `error` event; `event_id` names the client's event, where it was one."""
    return {
        "type": "invalid_request_error" if error.culprit == "client" else "server_error",
        "code": error.code,
        "message": str(error),
        "param": getattr(error, "param", None),
        "event_id": getattr(error, "event_id", None) or event_id,
    }


class Telling:
    """One connection's notices as events.

    Args:
        document: the connection's session object.
        asked_by: which client event was behind a command.
    """

    def __init__(self, document: SessionDocument, asked_by: Mapping[AskId, str | None]) -> None:
        self._document = document
        self._asked_by = asked_by
        self._conversation_id = f"conv_{secrets.token_hex(10)}"

    def tell(self, notice: Notice) -> Iterator[Told]:
        """Type and fields of each event, in the documented order."""
        match notice:
            case ReplyBegan() | OutputBegan() | TextGrew() | ArgumentsGrew() | OutputEnded():
                yield from self._tell_reply(notice)
            case ReplyEnded(reply=reply):
                yield "response.done", {"response": self._response(reply)}
            case Problem(error=error, ask=ask):
                event_id = self._asked_by.get(ask) if ask is not None else None
                yield "error", {"error": error_json(error, event_id)}
            case ListingBegan() | ListingEnded() | ServerCallBegan() | ServerCallEnded():
                yield from _tell_tools(notice)
            case _:
                yield from self._tell_user(notice)

    def _tell_user(self, notice: Notice) -> Iterator[Told]:
        match notice:
            case SpeechBegan(item_id=item_id, audio_ms=ms):
                where = {"audio_start_ms": ms, "item_id": item_id}
                yield "input_audio_buffer.speech_started", where
            case SpeechEnded(item_id=item_id, audio_ms=ms):
                where = {"audio_end_ms": ms, "item_id": item_id}
                yield "input_audio_buffer.speech_stopped", where
            case IdleTimedOut(item_id=item_id, start_ms=start_ms, end_ms=end_ms):
                silent = {"audio_start_ms": start_ms, "audio_end_ms": end_ms, "item_id": item_id}
                yield "input_audio_buffer.timeout_triggered", silent
            case Committed(item_id=item_id, previous_id=previous):
                where = {"item_id": item_id, "previous_item_id": previous}
                yield "input_audio_buffer.committed", where
            case Cleared():
                yield "input_audio_buffer.cleared", {}
            case TranscriptGrew() | TranscriptDone() | TranscriptBroke():
                yield from self._tell_transcript(notice)
            case _:
                yield from _tell_item(notice)

    def _tell_transcript(
        self, notice: TranscriptGrew | TranscriptDone | TranscriptBroke
    ) -> Iterator[Told]:
        if not self._document.shows_transcripts:
            return
        kind = "conversation.item.input_audio_transcription"
        where = {"item_id": notice.item_id, "content_index": 0}
        match notice:
            case TranscriptGrew(delta=delta):
                yield f"{kind}.delta", {**where, "delta": delta}
            case TranscriptDone(text=text, audio_ms=ms):
                usage = {"type": "duration", "seconds": ms / 1000}
                done = {**where, "transcript": text, "usage": usage}
                if self._document.shows_logprobs:
                    done["logprobs"] = _logprobs(notice)
                yield f"{kind}.completed", done
            case TranscriptBroke(code=code, message=message):
                error = {"type": "server_error", "code": code, "message": message, "param": None}
                yield f"{kind}.failed", {**where, "error": error}

    def _tell_reply(
        self, notice: ReplyBegan | OutputBegan | TextGrew | ArgumentsGrew | OutputEnded
    ) -> Iterator[Told]:
        match notice:
            case ReplyBegan(reply=reply):
                yield "response.created", {"response": self._response(reply)}
            case OutputBegan():
                yield from _output_began(notice)
            case TextGrew(spoken=spoken):
                kind = "response.output_audio_transcript" if spoken else "response.output_text"
                at = _at(notice.reply_id, notice.index, notice.item_id)
                yield f"{kind}.delta", {**at, "content_index": 0, "delta": notice.delta}
            case ArgumentsGrew():
                at = _at(notice.reply_id, notice.index, notice.item_id)
                if notice.on_server:
                    yield "response.mcp_call_arguments.delta", {**at, "delta": notice.delta}
                else:
                    grew = {**at, "call_id": notice.call_id, "delta": notice.delta}
                    yield "response.function_call_arguments.delta", grew
            case OutputEnded():
                yield from _output_ended(notice)

    def _response(self, reply: ReplyState) -> Event:
        options = reply.options
        fmt, voice = format_json(options.format), options.voice or DEFAULT_VOICE
        over = reply.status != "in_progress"
        return {
            "object": "realtime.response",
            "id": reply.id,
            "status": reply.status,
            "status_details": _status_details(reply),
            "output": [item_json(item) for item in reply.output],
            "conversation_id": None if options.out_of_band else self._conversation_id,
            "output_modalities": ["audio" if options.spoken else "text"],
            "max_output_tokens": options.max_output_tokens or "inf",
            "audio": {"output": {"format": fmt, "voice": voice}},
            "usage": _usage(reply) if over else None,
            "metadata": options.metadata,
        }


def _logprobs(notice: TranscriptDone) -> list[Event] | None:
    """One a word, in place of one a token; null where the engine does not know."""
    told = [
        {"token": word, "logprob": logprob, "bytes": list(word.encode())}
        for word, logprob in notice.logprobs
    ]
    return told or None


def _tell_item(notice: Notice) -> Iterator[Told]:
    match notice:
        case ItemAdded(item=item, previous_id=previous):
            link = {"previous_item_id": previous, "item": item_json(item)}
            yield "conversation.item.added", link
            yield "conversation.item.done", link
        case ItemDeleted(item_id=item_id):
            yield "conversation.item.deleted", {"item_id": item_id}
        case ItemTruncated(item_id=item_id, content_index=index, audio_ms=ms):
            cut = {"item_id": item_id, "content_index": index, "audio_end_ms": ms}
            yield "conversation.item.truncated", cut
        case ItemRetrieved(item=item):
            yield "conversation.item.retrieved", {"item": item_json(item)}
        case _:
            pass


def _at(reply_id: str, index: int, item_id: str) -> Event:
    return {"response_id": reply_id, "output_index": index, "item_id": item_id}


def _output_began(notice: OutputBegan) -> Iterator[Told]:
    item = item_json(notice.item)
    if isinstance(notice.item, Message):
        item["content"] = []
    at: Event = {"response_id": notice.reply_id, "output_index": notice.index}
    yield "response.output_item.added", {**at, "item": item}
    if not notice.aside:
        link = {"previous_item_id": notice.previous_id, "item": item}
        yield "conversation.item.added", link
    if isinstance(notice.item, Message):
        part = {"type": "text", "text": ""}
        if notice.item.parts[0].kind == "output_audio":
            part = {"type": "audio", "transcript": ""}
        at = _at(notice.reply_id, notice.index, notice.item.id)
        yield "response.content_part.added", {**at, "content_index": 0, "part": part}


def _output_ended(notice: OutputEnded) -> Iterator[Told]:
    yield from _content_ended(notice)
    item = item_json(notice.item)
    where = {"response_id": notice.reply_id, "output_index": notice.index}
    yield "response.output_item.done", {**where, "item": item}
    if not notice.aside and not isinstance(notice.item, ServerCall):
        link = {"previous_item_id": notice.previous_id, "item": item}
        yield "conversation.item.done", link


def _content_ended(notice: OutputEnded) -> Iterator[Told]:
    at = _at(notice.reply_id, notice.index, notice.item.id)
    match notice.item:
        case Message(parts=parts):
            here = {**at, "content_index": 0}
            if parts[0].kind == "output_audio":
                yield "response.output_audio.done", here
                yield "response.output_audio_transcript.done", {**here, "transcript": notice.told}
                part = {"type": "audio", "transcript": notice.told}
            else:
                yield "response.output_text.done", {**here, "text": notice.told}
                part = {"type": "text", "text": notice.told}
            yield "response.content_part.done", {**here, "part": part}
        case ServerCall(arguments=arguments):
            yield "response.mcp_call_arguments.done", {**at, "arguments": arguments}
        case ApprovalRequest():
            pass
        case call:
            named = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            yield "response.function_call_arguments.done", {**at, **named}


def _tell_tools(
    notice: ListingBegan | ListingEnded | ServerCallBegan | ServerCallEnded,
) -> Iterator[Told]:
    match notice:
        case ServerCallBegan(item_id=item_id, index=index):
            yield "response.mcp_call.in_progress", {"item_id": item_id, "output_index": index}
            return
        case ServerCallEnded(item=call, index=index):
            kind = "completed" if call.error is None else "failed"
            yield f"response.mcp_call.{kind}", {"item_id": call.id, "output_index": index}
        case ListingEnded(item=listing, failed=failed):
            kind = "failed" if failed else "completed"
            yield f"mcp_list_tools.{kind}", {"item_id": listing.id}
        case ListingBegan():
            pass
    link = {"previous_item_id": notice.previous_id, "item": item_json(notice.item)}
    if isinstance(notice, ListingBegan):
        yield "conversation.item.added", link
        yield "mcp_list_tools.in_progress", {"item_id": notice.item.id}
    else:
        yield "conversation.item.done", link


def _status_details(reply: ReplyState) -> Event | None:
    match reply.status:
        case "cancelled" | "incomplete":
            return {"type": reply.status, "reason": reply.reason}
        case "failed":
            error = reply.error
            code = error.code if error is not None else "server_error"
            message = str(error) if error is not None else "The answer failed."
            body = {"type": "server_error", "code": code, "message": message}
            return {"type": "failed", "error": body}
        case _:
            return None


def _usage(reply: ReplyState) -> Event:
    """With every detail, zeros included: some clients read them unasked."""
    usage = reply.usage
    total_in = usage.input_text + usage.input_audio
    total_out = usage.output_text + usage.output_audio
    return {
        "total_tokens": total_in + total_out,
        "input_tokens": total_in,
        "output_tokens": total_out,
        "input_token_details": {
            "text_tokens": usage.input_text,
            "audio_tokens": usage.input_audio,
            "image_tokens": 0,
            "cached_tokens": usage.cached,
            "cached_tokens_details": {
                "text_tokens": usage.cached,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {
            "text_tokens": usage.output_text,
            "audio_tokens": usage.output_audio,
        },
    }
