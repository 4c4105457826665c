"""Transcriptions and translations: a form in, a document or a stream of events out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse, PlainTextResponse

from duologue.core import languages
from duologue.core.capabilities import Capabilities
from duologue.ports import SttOptions
from duologue.server.audio import captions
from duologue.server.audio.listening import Heard, Listening
from duologue.server.audio.outlet import Outlet
from duologue.server.audio.refusals import Refusal, wrong
from duologue.server.audio.upload import Upload
from duologue.wire import session_options as read

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")

TIMED_FORMATS = ("srt", "verbose_json", "vtt")

PACK_MS = 15_000
"""Speech given at a time to a recogniser whose work costs the same however short the sound is, as Whisper's does."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for.

    Attributes:
        granularities: of `verbose_json`: "word", "segment".
        logprobs: it wants to know how sure the recogniser is.
    """

    options: SttOptions
    format: str = "json"
    granularities: tuple[str, ...] = ("segment",)
    streams: bool = False
    logprobs: bool = False


def wanted(upload: Upload, task: str) -> Wanted:
    """Read the fields of a form.

    Raises:
        Refusal: one that is wrong, or not served.
    """
    if not upload.text("model"):
        message = "Missing required parameter: 'model'. Any name will do."
        raise wrong("missing_required_parameter", message, "model")
    fmt = _format(upload)
    streams = task == "transcribe" and _flag(upload, "stream")
    if streams and fmt not in ("json", "text"):
        message = (
            f"A transcription as '{fmt}' cannot be streamed: leave out 'stream', or use 'json'."
        )
        raise wrong("unsupported_value", message, "response_format")
    _check_temperature(upload.text("temperature"))
    granularities = _granularities(upload, fmt)
    logprobs = _included(upload)
    if logprobs and fmt != "json":
        message = "'logprobs' are given with the response format 'json'."
        raise wrong("unsupported_value", message, "include")
    hints = "\n".join([upload.text("prompt"), *upload.texts("keywords")])
    options = SttOptions(
        language=_language(upload),
        hints=read.hints(hints, ()),
        task="translate" if task == "translate" else "transcribe",
        word_times=fmt in TIMED_FORMATS or logprobs,
    )
    return Wanted(options, fmt, granularities, streams, logprobs)


class Transcriber:
    """Answers such requests.

    Args:
        recognisers: what those can do that are up, best first.
    """

    def __init__(
        self, listening: Listening, recognisers: Callable[[], Sequence[Capabilities]]
    ) -> None:
        self._listening = listening
        self._recognisers = recognisers

    def check(self, what: Wanted) -> None:
        """Refuse what no recogniser here can do, before the file is looked at.

        Raises:
            Refusal: no engine translates, or none knows when a word is said.
        """
        able = self._recognisers()
        if what.options.task == "translate" and not any(each.translates for each in able):
            raise wrong(
                "translation_not_supported",
                "No recogniser of this server translates into English. Run it with one that does: "
                "`duologue serve --stt whisper:small`.",
            )
        if "word" in what.granularities and not any(each.word_times for each in able):
            raise wrong(
                "word_times_not_supported",
                "No recogniser of this server knows when a word is said; use the granularity 'segment'.",
                "timestamp_granularities",
            )

    async def answer(self, upload: Upload, what: Wanted, outlet: Outlet) -> Response | None:
        """Do it.

        Raises:
            Refusal: it is no file that can be transcribed.
            EngineError: the recogniser failed.
        """
        heard: list[Heard] = []

        async def take(each: Heard) -> None:
            if what.streams:
                await outlet.tell(_delta(each, what, is_first=not heard))
            heard.append(each)

        duration_ms = await self._listening.listen(
            upload.file, what.options, self._least_ms(), take
        )
        if not what.streams:
            return await asyncio.to_thread(self._document, heard, duration_ms, what)
        await outlet.tell(_done(heard, what))
        return None

    def _least_ms(self) -> int:
        able = self._recognisers()
        return PACK_MS if able and not able[0].streaming else 0

    def _document(self, heard: Sequence[Heard], duration_ms: int, what: Wanted) -> Response:
        text = captions.text_of(heard)
        if what.format == "text":
            return PlainTextResponse(f"{text}\n")
        if what.format == "srt":
            return PlainTextResponse(captions.srt(captions.segments(heard)))
        if what.format == "vtt":
            return PlainTextResponse(captions.vtt(captions.segments(heard)))
        usage = {"type": "duration", "seconds": duration_ms / 1000}
        if what.format == "verbose_json":
            return JSONResponse({**self._verbose(heard, duration_ms, what), "usage": usage})
        answer: Json = {"text": text, "usage": usage}
        if what.logprobs:
            answer["logprobs"] = captions.logprobs_json(heard)
        return JSONResponse(answer)

    def _verbose(self, heard: Sequence[Heard], duration_ms: int, what: Wanted) -> Json:
        answer: Json = {
            "task": what.options.task,
            "language": self._language(what.options),
            "duration": duration_ms / 1000,
            "text": captions.text_of(heard),
        }
        if "segment" in what.granularities:
            found = captions.segments(heard)
            answer["segments"] = [captions.segment_json(n, each) for n, each in enumerate(found)]
        if "word" in what.granularities:
            answer["words"] = [captions.word_json(w) for each in heard for w in each.words]
        return answer

    def _language(self, options: SttOptions) -> str:
        """The text's; where nobody said which, it is known only of a recogniser that has no other."""
        if options.task == "translate":
            return "english"
        known = {code for each in self._recognisers() for code in each.languages}
        only = known.pop() if len(known) == 1 else ""
        return languages.name_of(options.language or only.strip("*"))


def _delta(heard: Heard, what: Wanted, *, is_first: bool) -> Json:
    text = heard.text if is_first else f" {heard.text}"
    event: Json = {"type": "transcript.text.delta", "delta": text}
    if what.logprobs:
        event["logprobs"] = captions.logprobs_json([heard])
    return event


def _done(heard: Sequence[Heard], what: Wanted) -> Json:
    """Without `usage`, which this event knows only in tokens."""
    event: Json = {"type": "transcript.text.done", "text": captions.text_of(heard)}
    if what.logprobs:
        event["logprobs"] = captions.logprobs_json(heard)
    return event


# --- fields ---
def _format(upload: Upload) -> str:
    fmt = upload.text("response_format") or "json"
    if fmt == "diarized_json":
        message = "Who speaks is not told apart here: 'diarized_json' is not served."
        raise wrong("unsupported_value", message, "response_format")
    if fmt not in FORMATS:
        raise _no_choice("response_format", fmt, FORMATS)
    return fmt


def _flag(upload: Upload, name: str) -> bool:
    value = upload.text(name).lower()
    if value not in ("", "true", "false", "1", "0"):
        raise _no_choice(name, value, ("true", "false"))
    return value in ("true", "1")


def _check_temperature(text: str) -> None:
    """Accepted and without effect: the recognisers here do not sample."""
    try:
        is_right = 0 <= float(text or 0) <= 1
    except ValueError:
        is_right = False
    if not is_right:
        message = f"Invalid 'temperature': expected a number from 0 to 1, got '{text[:32]}'."
        raise wrong("invalid_value", message, "temperature")


def _granularities(upload: Upload, fmt: str) -> tuple[str, ...]:
    asked = tuple(upload.texts("timestamp_granularities"))
    for each in asked:
        if each not in ("word", "segment"):
            raise _no_choice("timestamp_granularities", each, ("word", "segment"))
    if asked and fmt != "verbose_json":
        message = "'timestamp_granularities' are given with the response format 'verbose_json'."
        raise wrong("unsupported_value", message, "timestamp_granularities")
    return asked or ("segment",)


def _included(upload: Upload) -> bool:
    asked = upload.texts("include")
    for each in asked:
        if each != "logprobs":
            raise _no_choice("include", each, ("logprobs",))
    return bool(asked)


def _language(upload: Upload) -> str:
    several = upload.texts("languages")
    text = upload.text("language") or (several[0] if len(several) == 1 else "")
    code = languages.code_of(text)
    if code is None:
        message = f"Invalid 'language': '{text[:32]}' is no ISO-639-1 code, such as 'en'."
        raise wrong("invalid_language_format", message, "language")
    return code


def _no_choice(param: str, value: str, choices: Sequence[str]) -> Refusal:
    message = f"Invalid '{param}': '{value[:64]}'. Supported: {', '.join(choices)}."
    return wrong("invalid_value", message, param)
