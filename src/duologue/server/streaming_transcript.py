"""What was said in a session, as a document: JSON, captions, or plain text. Gaps are shown, not closed."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse, PlainTextResponse

from duologue.core import captions
from duologue.core.records import ItemRecord
from duologue.core.segments import joined
from duologue.core.words import Word

Format = Literal["json", "srt", "vtt", "txt"]

MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "txt": "text/plain"}
"""Of the documents; all are in UTF-8."""

TYPES: dict[str, Any] = {
    name: {"schema": {"type": "string"}}
    for name in (f"{kind}; charset=utf-8" for kind in MEDIA_TYPES.values())
}
"""As they are described."""

PAGE = 1_000
MAX_ITEMS = 20_000
"""Parts of a transcript in one document: eleven hours of talk without a pause."""

SHORTEST_GAP_MS = 1_000
"""A caption that says that something is missing is there long enough to be read."""

Json = dict[str, Any]
Read = Callable[[int], Awaitable[Sequence[ItemRecord]]]
"""Records with a number above this one, by number; not all at once."""


async def read(more: Read, after: int) -> tuple[list[ItemRecord], bool]:
    """All records, and whether those are all.

    Raises:
        DuologueError: there is no such session, or the store cannot be read.
    """
    found: list[ItemRecord] = []
    while len(found) < MAX_ITEMS:
        page = await more(found[-1].number if found else after)
        found += page
        if len(page) < PAGE:
            return found, True
    return found, False


def document(
    session_id: str, records: Sequence[ItemRecord], kind: Format, *, complete: bool
) -> Response:
    """The document; where it is not complete, a header says so too."""
    if kind == "json":
        return JSONResponse(_whole(session_id, records, complete=complete))
    if kind == "txt":
        content = "".join(f"{line}\n" for line in _lines(records))
    else:
        write = captions.srt if kind == "srt" else captions.vtt
        content = write([caption for record in records for caption in _captions(record)])
    last = records[-1].number if records else 0
    headers = {"X-Last-Number": str(last), "X-Complete": "true" if complete else "false"}
    return PlainTextResponse(content, headers=headers, media_type=MEDIA_TYPES[kind])


def _whole(session_id: str, records: Sequence[ItemRecord], *, complete: bool) -> Json:
    return {
        "success": True,
        "session_id": session_id,
        "sessionId": session_id,
        "text": " ".join(_lines(records)),
        "items": [_line(record) for record in records],
        "last_number": records[-1].number if records else 0,
        "complete": complete,
    }


def _line(record: ItemRecord) -> Json:
    told = {
        name: value for name, value in record.body.items() if name not in ("words", "committed")
    }
    words = [
        {"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
        for word in _words(record)
    ]
    return {
        **told,
        "number": record.number,
        "id": record.id,
        "kind": record.kind,
        "role": record.role,
        "text": record.text,
        "start_ms": record.start_ms,
        "end_ms": record.end_ms,
        "at": record.at_s,
        **({"words": words} if words else {}),
    }


def _lines(records: Sequence[ItemRecord]) -> Iterator[str]:
    """An utterance each, in its parts as they belong together; and the gaps."""
    parts: list[str] = []
    for record in records:
        if record.kind == "transcript":
            parts.append(record.text)
            if not record.body.get("ends_utterance"):
                continue
        elif record.kind != "gap":
            continue
        if parts:
            yield joined(parts)
            parts = []
        if record.kind == "gap":
            yield _gap(record)
    if parts:
        yield joined(parts)


def _captions(record: ItemRecord) -> Sequence[captions.Segment]:
    if record.kind == "gap":
        end_ms = max(record.end_ms, record.start_ms + SHORTEST_GAP_MS)
        return [captions.Segment(record.start_ms, end_ms, _gap(record), (), 0.0)]
    if record.kind != "transcript":
        return []
    heard = captions.Heard(record.start_ms, record.end_ms, record.text, _words(record))
    return captions.segments([heard])


def _words(record: ItemRecord) -> tuple[Word, ...]:
    return tuple(Word(*word) for word in record.body.get("words", ()))


def _gap(record: ItemRecord) -> str:
    seconds = (record.end_ms - record.start_ms) / 1000
    return f"[{seconds:.1f} s missing]" if seconds > 0 else "[sound missing]"
