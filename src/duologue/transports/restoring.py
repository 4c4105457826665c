"""Sessions that outlive their server: found in the store by their tokens, and gone on with.

    past = Past()
    await past.learn(archive, now_s)          # at the start
    past.find(token, now_s)                   # a client comes back
    RestoredConnection(wire, world, left, lobby)

What was being said when the server ended stays as far as it was heard. Sound whose transcript was not stored is
asked for again. The client is told of the items that it may not know of, in messages counted on from its own count.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from duologue.core.conversation import ROOT, Item, Message, OutputItem
from duologue.core.errors import ClientError, DuologueError, OurError
from duologue.core.item_json import from_json
from duologue.core.notices import (
    Committed,
    HeardSoFar,
    ItemAdded,
    Notice,
    OutputEnded,
    ReplyEnded,
    ReplyState,
    TranscriptBroke,
    TranscriptDone,
)
from duologue.core.records import Change, ItemRecord, SessionRecord
from duologue.ports import Archive
from duologue.session.keeping import Keeper
from duologue.session.kept_items import Entry, KeptReply, Place, broken_off
from duologue.session.session import Session
from duologue.session.world import World
from duologue.transports.extension import Leg, ResumableConnection
from duologue.transports.lobby import Lobby, hash_of
from duologue.transports.realtime import is_added
from duologue.transports.unsettled import Unsettled
from duologue.transports.websocket import INTERNAL_ERROR, Socket
from duologue.wire.dialect import Dialect

log = logging.getLogger("duologue.realtime")

MAX_PAST = 1_000
"""Sessions of the servers before this one; those that were active last."""

_OUTPUT_DONE = b'{"type":"response.output_item.done"'

RESTARTED = "server_restarted"
"""Why what was under way did not come to its end."""


@dataclass(frozen=True, slots=True)
class Left:
    """A session that a server left behind, as far as it is kept in memory.

    Attributes:
        owner: name of the key whose it is.
        model, intent: what its client asked for.
    """

    session_id: str
    owner: str
    expires_s: float
    token_hashes: tuple[str, ...]
    model: str = ""
    intent: str = ""


class Past:
    """The sessions that may be gone on with, by the hashes of their tokens."""

    def __init__(self) -> None:
        self._by_hash: dict[str, Left] = {}

    def __len__(self) -> int:
        return len({left.session_id for left in self._by_hash.values()})

    async def learn(self, archive: Archive, now_s: float) -> None:
        """Take up what is in the store. A store that does not answer costs the old sessions, not the server."""
        try:
            records = await archive.sessions(resumable_at_s=now_s, limit=MAX_PAST)
        except OurError as error:
            log.warning("! sessions of before cannot be gone on with: %s", error)
            return
        for record in records:
            if record.kind == "realtime" and record.token_hashes:
                self.put(_left(record))
        if self._by_hash:
            log.info("= %d sessions of before can be gone on with", len(self))

    def put(self, left: Left) -> None:
        """It can be found."""
        self._by_hash.update(dict.fromkeys(left.token_hashes, left))

    def find(self, token: str, now_s: float) -> Left | None:
        """Whose token it is, unless that is too long ago."""
        left = self._by_hash.get(hash_of(token))
        if left is not None and left.expires_s <= now_s:
            self.take(left)
            return None
        return left

    def take(self, left: Left) -> None:
        """It is gone on with, or too old: nobody finds it here any more."""
        for token_hash in left.token_hashes:
            self._by_hash.pop(token_hash, None)


def _left(record: SessionRecord) -> Left:
    asked = (str(record.settings.get(name, "")) for name in ("model", "intent"))
    return Left(record.id, record.owner, record.expires_s, record.token_hashes, *asked)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An item out of the store.

    Attributes:
        heard: words and milliseconds that were heard of it, if it was still playing.
        is_broken: it was not whole, and will not be.
        was_open: its end had not been told.
    """

    entry: Entry
    heard: tuple[str, int] | None
    is_broken: bool
    was_open: bool

    @property
    def is_unheard(self) -> bool:
        """What the user said in it was not transcribed, and will not be."""
        item = self.entry.item
        parts = item.parts if isinstance(item, Message) else ()
        is_open = any(part.kind == "input_audio" and part.text is None for part in parts)
        return is_open and not self.entry.failed


class RestoredConnection(ResumableConnection):
    """A connection that goes on with a session of a server before this one.

    Args:
        wire: made like that of a new session; it is given the session's settings.
        came: the token that the client came by, and how many messages it has.

    Attributes:
        is_read: the session was found in the store.
    """

    def __init__(
        self,
        wire: Dialect,
        world: World,
        left: Left,
        lobby: "Lobby[ResumableConnection]",
        came: tuple[str, int],
    ) -> None:
        super().__init__(wire, world, left.session_id, lobby)
        lobby.came_by(self, came[0])
        self.is_read = False
        self.leg = Leg(self, *came)
        self._received = came[1]
        self._is_torn = True
        self._record: SessionRecord | None = None
        self._kept: list[_Kept] = []
        self._replies: dict[str, KeptReply] = {}

    # --- its first sockets, until the session is there ---
    def attach(self, leg: Leg, socket: Socket) -> None:
        """A socket is ready; the session may not be, yet."""
        if self.session is not None or self._is_over:
            super().attach(leg, socket)
        else:
            self._received = leg.received
            self._take_over(leg, socket)

    def detach(self, leg: Leg, *, for_good: bool) -> None:
        """A socket is gone; before the session is there, that costs the socket only."""
        if self.session is None and leg is self.leg and not self._is_over:
            self._socket = self.leg = None
        else:
            super().detach(leg, for_good=for_good)

    def may_resume_after(self, received: int | None) -> bool:
        """Nobody knows how many messages there were, until they are counted on from the client's own count."""
        return (
            super().may_resume_after(received) if self.session is not None else received is not None
        )

    async def converse(self) -> None:
        """Read the session, then go on with it."""
        archive = self._world.archive
        assert archive is not None
        try:
            await self._read_back(archive)
        except DuologueError as error:
            log.warning("! %s: cannot be gone on with: %s", self._id, error)
            self._close(INTERNAL_ERROR, "the session cannot be read")
            self.give_up()
            return
        self.is_read = True
        await super().converse()

    # --- out of the store ---
    async def _read_back(self, archive: Archive) -> None:
        """Raises `OurError`: the store does not have it, or does not answer."""
        record = await archive.session(self._id)
        if record is None:
            raise OurError("store_failed", "The session is not in the store any more.")
        items = await archive.last_items(self._id)
        self._record = record
        self._kept = list(_kept_items(items))
        replies = record.state.get("replies", {})
        self._replies = {name: KeptReply(**reply) for name, reply in replies.items()}
        try:
            self.extended.restore(record.settings)
        except (ClientError, KeyError) as error:
            log.warning("! %s: begins with settings of its own: %s", self._id, error)

    def _hire(self, archive: Archive, session: Session) -> Keeper:
        record = self._record
        assert record is not None
        base_ms = int(record.state.get("clock_ms", 0))
        return Keeper(archive, session, self, created_s=record.created_s, base_ms=base_ms)

    def _furnish(self, session: Session) -> None:
        """With the conversation as it was."""
        super()._furnish(session)
        assert self.keeper is not None
        conversation = session.conversation
        for kept in self._kept:
            item, previous = kept.entry.item, kept.entry.previous
            is_there = previous is None or conversation.get(previous) is not None
            conversation.add(item, (previous or ROOT) if is_there else None)
        self.keeper.adopt((kept.entry for kept in self._kept), self._replies)

    # --- to the client ---
    def _greet(self) -> None:
        """Say where the session stands, and what the client may not know of it."""
        assert self._record is not None
        assert self.keeper is not None
        wire, state, received = self.extended, self._record.state, self._received
        self._unsettled = Unsettled(int(state.get("input_sequence", 0)))
        wire.input.received = self._unsettled.sequence
        wire.resume_token = self._lobby.issue(self)
        self._replay.sent = received
        self._world.meters.counts["sessions_restored"] += 1
        log.info("< %s: is back after the server was started again", self._id)
        resumed = wire.resumed(self._id, "open", received, complete=False)
        messages, changes = self._missing(self.keeper, received)
        self._await(self.keeper.write_session(*changes))
        self._say_uncounted(resumed)
        self._send(messages)

    def _say_uncounted(self, resumed: bytes) -> None:
        """To this leg; another is told anew."""
        assert self._gate is not None
        leg = self.leg

        def say() -> None:
            if self._socket is not None and self.leg is leg:
                self._socket.send(resumed)

        self._gate.put(say, len(resumed), is_message=False)

    def _begin(self, session: Session) -> None:
        super()._begin(session)
        if self.leg is None:
            self._wait_for_client(session)

    def _missing(self, keeper: Keeper, received: int) -> tuple[list[bytes], list[Change]]:
        """Messages about what changed since a client had so many of them; and the items, which have new places."""
        messages: list[bytes] = []
        changes: list[Change] = []
        for kept in self._kept:
            entry, before = kept.entry, received + len(messages)
            said = list(self._about_item(kept, received))
            if not said:
                continue
            messages += said
            added = [before + n for n, data in enumerate(said, 1) if is_added(data)]
            place = Place(added[0] if added else entry.place.added, received + len(messages))
            if kept.is_unheard:
                entry.failed = RESTARTED
            if (record := keeper.again(entry.item.id, place)) is not None:
                changes.append(record)
        for reply_id, reply in self._replies.items():
            if reply.began <= received and not 0 < reply.done <= received:
                messages += self._encode(self._ending_of(reply_id, reply))
                reply.done = received + len(messages)
        return messages, changes

    def _about_item(self, kept: _Kept, received: int) -> Iterator[bytes]:
        entry, item = kept.entry, kept.entry.item
        is_new, is_changed = entry.place.added > received, entry.place.last > received
        transcript = _transcript(kept)
        if is_new and transcript is not None:
            yield from self._encode(Committed(item.id, entry.previous))
        if is_new:
            yield from self._encode(ItemAdded(item, entry.previous))
        elif kept.is_broken or (is_changed and transcript is None):
            yield from self._done(kept, received)
        if transcript is not None and (is_changed or kept.is_unheard):
            yield from self._encode(transcript)
        if kept.heard is not None or (is_changed and entry.reply_id):
            yield from self._heard_in_the_end(entry)

    def _done(self, kept: _Kept, received: int) -> Iterator[bytes]:
        """An item that the client knows is as it will stay; of an answer, if that is open for the client."""
        entry, item = kept.entry, kept.entry.item
        reply = self._replies.get(entry.reply_id)
        is_open = reply is not None and not 0 < reply.done <= received
        if is_open and (kept.was_open or entry.place.last > received):
            told = OutputEnded(entry.reply_id, entry.index, _output(item), "", entry.previous)
            yield from (data for data in self._encode(told) if data.startswith(_OUTPUT_DONE))
        yield self._encode(ItemAdded(item, entry.previous))[-1]

    def _heard_in_the_end(self, entry: Entry) -> Iterator[bytes]:
        """Of an answer that was spoken, and is not being played any more."""
        item = entry.item
        if isinstance(item, Message) and item.parts[0].spoken is not None:
            part = item.parts[0]
            where = (entry.reply_id, item.id, int(part.sent_ms), part.text or "")
            yield from self._encode(HeardSoFar(*where, (), ended=True))

    def _ending_of(self, reply_id: str, reply: KeptReply) -> Notice:
        output = tuple(
            _output(kept.entry.item) for kept in self._kept if kept.entry.reply_id == reply_id
        )
        options = self._wire.options().reply
        if reply.done:
            status: Any = reply.status
            return ReplyEnded(ReplyState(reply_id, options, status, reply.reason, None, output))
        error = OurError(RESTARTED, "The server was started again while it answered.")
        reply.status = "failed"
        return ReplyEnded(ReplyState(reply_id, options, "failed", None, error, output))

    def _encode(self, notice: Notice) -> list[bytes]:
        return list(self._wire.encode(notice))


def _output(item: Item) -> OutputItem:
    return cast(OutputItem, item)


def _kept_items(records: Sequence[ItemRecord]) -> Iterator[_Kept]:
    for record in records:
        try:
            item = from_json(record.body["item"])
        except (KeyError, ValueError) as error:
            log.warning("! an item of %s cannot be read: %r", record.session_id, error)
            continue
        heard_ms = record.body.get("heard_ms")
        heard = None if heard_ms is None else (record.text, int(heard_ms))
        stays = broken_off(item, heard)
        was_open = item.status == "in_progress"
        yield _Kept(_entry(record, stays), heard, is_broken=stays is not item, was_open=was_open)


def _entry(record: ItemRecord, item: Item) -> Entry:
    body = record.body
    place = Place(int(body.get("added", 0)), int(body.get("told", 0)))
    return Entry(
        number=record.number,
        at_s=record.at_s,
        item=item,
        previous=body.get("previous"),
        place=place,
        start_ms=record.start_ms,
        end_ms=record.end_ms,
        reply_id=body.get("reply", ""),
        index=int(body.get("index", 0)),
        failed=body.get("failed", ""),
    )


def _transcript(kept: _Kept) -> Notice | None:
    """What became of the user's sound."""
    entry, item = kept.entry, kept.entry.item
    if not isinstance(item, Message) or not any(p.kind == "input_audio" for p in item.parts):
        return None
    if kept.is_unheard or entry.failed:
        message = "This was not transcribed before the server ended. Send its sound again."
        return TranscriptBroke(item.id, entry.failed or RESTARTED, message)
    return TranscriptDone(item.id, item.text, entry.end_ms - entry.start_ms)
