"""What a session tells its listener, as unmute's clients know it: no ids, and words as they are spoken.

    response.created, (unmute.response.text.delta.ready, response.audio.delta, response.text.delta)*,
    response.text.done, unmute.additional_outputs, response.audio.done
                                               or: unmute.interrupted_by_vad

Nothing else is ever sent: unmute's own load-test client breaks off at a type that it does not know.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from duologue.core.audio import WIRE
from duologue.core.conversation import Message
from duologue.core.errors import DuologueError
from duologue.core.notices import (
    Notice,
    OutputBegan,
    OutputEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.core.playout import SpokenText
from duologue.wire.unmute_sound import Outlet

Event = dict[str, Any]
Told = tuple[str, Event]
"""An event's type, and its fields but for its id."""

MAX_HISTORY = 100
"""Messages shown in `chat_history`, which is sent whole with every answer."""

DEFAULT_VOICE = "default"


def error_body(error: DuologueError) -> Event:
    """The body of an `error` event. "fatal" says that the session is over; a "warning" is not shown to the user."""
    kinds = {"client": "invalid_request_error", "us": "fatal"}
    return {
        "type": kinds.get(error.culprit, "warning"),
        "code": error.code,
        "message": str(error),
        "param": getattr(error, "param", None),
    }


class Telling:
    """One connection's notices as events, and the sound of its answers."""

    def __init__(self) -> None:
        self._history: deque[Event] = deque(maxlen=MAX_HISTORY)
        self._sound = Outlet()
        self._spoken: SpokenText | None = None
        self._said = 0  # characters of it that were told as spoken
        self._sent_ms = 0.0
        self._speech_ms = (0, 0)  # where the user's last utterance lies, in the client's sound

    def tell(self, notice: Notice) -> Iterator[Told]:
        """Type and fields of each event."""
        match notice:
            case ReplyBegan() | OutputBegan() | TextGrew() | OutputEnded() | ReplyEnded():
                yield from self._tell_reply(notice)
            case SpeechBegan(audio_ms=ms):
                self._speech_ms = (ms, ms)
                yield "input_audio_buffer.speech_started", {}
            case SpeechEnded(audio_ms=ms):
                self._speech_ms = (self._speech_ms[0], ms)
                yield "input_audio_buffer.speech_stopped", {}
            case TranscriptGrew(delta=delta):
                yield from self._heard(delta)
            case TranscriptDone(text=text) if text.strip():
                self._history.append({"role": "user", "content": text.strip()})
                yield self._outputs()
            case TranscriptBroke(code=code, message=message):
                yield "error", {"error": {"type": "warning", "code": code, "message": message}}
            case Problem(error=error):
                yield "error", {"error": error_body(error)}
            case _:
                pass

    def sound(self, pcm: bytes) -> Iterator[Told]:
        """A frame of an answer's sound, and the words that were begun before its end."""
        yield "response.audio.delta", {"delta": self._sound.encode(pcm)}
        self._sent_ms += len(pcm) * 1000 / (2 * WIRE.rate_hz)
        if self._spoken is not None:
            yield from self._words(self._spoken.chars_until(self._sent_ms))

    # --- the user ---
    def _heard(self, delta: str) -> Iterator[Told]:
        """Word by word; when each was said is estimated, evenly over the utterance."""
        began, ended = self._speech_ms
        words = delta.split()
        for number, word in enumerate(words):
            start_s = round((began + (ended - began) * number / len(words)) / 1000, 3)
            where = {"delta": word, "start_time": start_s}
            yield "conversation.item.input_audio_transcription.delta", where

    # --- answers ---
    def _tell_reply(
        self, notice: ReplyBegan | OutputBegan | TextGrew | OutputEnded | ReplyEnded
    ) -> Iterator[Told]:
        match notice:
            case ReplyBegan(reply=reply):
                self._spoken, self._said, self._sent_ms = None, 0, 0.0
                voice = reply.options.voice or DEFAULT_VOICE
                response = {"object": "realtime.response", "status": "in_progress", "voice": voice}
                yield "response.created", {"response": {**response, "chat_history": self._shown()}}
            case OutputBegan(item=Message(parts=parts)):
                self._spoken = parts[0].spoken
            case TextGrew(delta=delta):
                for word in re.findall(r"\s*\S+", delta):
                    yield "unmute.response.text.delta.ready", {"delta": word}
            case OutputEnded(item=Message()):
                yield from self._output_ended(notice)
            case ReplyEnded(reply=reply):
                yield from self._reply_ended(reply)
            case _:
                pass

    def _words(self, upto: int) -> Iterator[Told]:
        """Tell the words up to there as spoken."""
        if self._spoken is None or upto <= self._said:
            return
        words = self._spoken.text[self._said : upto].split()
        self._said = upto
        for word in words:
            yield "response.text.delta", {"delta": word}

    def _output_ended(self, notice: OutputEnded) -> Iterator[Told]:
        assert isinstance(notice.item, Message)
        if notice.item.status == "completed" and self._spoken is not None:
            yield from self._words(len(self._spoken.text))
        if pages := self._sound.flush():
            yield "response.audio.delta", {"delta": pages}
        if text := notice.item.text.strip():
            self._history.append({"role": "assistant", "content": text})
        yield "response.text.done", {"text": notice.told}

    def _reply_ended(self, reply: ReplyState) -> Iterator[Told]:
        if reply.error is not None:
            yield "error", {"error": error_body(reply.error)}
        if self._history:
            yield self._outputs()
        if reply.status == "cancelled":
            yield "unmute.interrupted_by_vad", {}
        else:
            yield "response.audio.done", {}

    def _outputs(self) -> Told:
        shown = {"chat_history": self._shown(), "debug_dict": {}, "debug_plot_data": []}
        return "unmute.additional_outputs", {"args": shown}

    def _shown(self) -> list[Event]:
        return list(self._history)
