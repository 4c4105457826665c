"""What the keeper writes of each notice, and what it does not."""

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from duologue.core.conversation import (
    Conversation,
    FunctionCall,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.notices import (
    Cleared,
    HeardSoFar,
    IdleTimedOut,
    ItemAdded,
    ItemDeleted,
    ItemTruncated,
    ListingBegan,
    ListingEnded,
    Notice,
    OutputBegan,
    OutputEnded,
    PlaybackBegan,
    PlaybackEnded,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    ServerCallEnded,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TurnOver,
)
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenText
from duologue.core.records import ItemRecord, SessionRecord
from duologue.session.keeping import MAX_REPLIES, MAX_TIMES, RESUMABLE_S, Keeper
from duologue.session.kept_items import Place
from duologue.session.meters import Meters, Turn
from tests.support.archive import MemoryArchive


@dataclass
class Owner:
    key_name: str = "kitchen"
    is_watched: bool = True
    hashes: tuple[str, ...] = ("abc",)

    def settings(self) -> dict[str, Any]:
        return {"dialect": "ga"}

    def token_hashes(self) -> tuple[str, ...]:
        return self.hashes

    def state(self) -> dict[str, Any]:
        return {"input_sequence": 7}


@dataclass
class Room:
    """A keeper, and a session that is only what it looks at."""

    owner: Owner = field(default_factory=Owner)
    now_s: float = 1000.0
    heard_ms: float = 0.0
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    conversation: Conversation = field(default_factory=Conversation)
    count: int = 0

    def __post_init__(self) -> None:
        self.meters = Meters(lambda: 0.0)
        self.session: Any = SimpleNamespace(
            id="sess_1",
            conversation=self.conversation,
            ears=SimpleNamespace(client_ms=int),
            mouth=SimpleNamespace(heard_ms=lambda: self.heard_ms),
            meters=self.meters,
            now=500,
        )
        self.keeper = Keeper(
            self.archive, self.session, self.owner, lambda: self.now_s, base_ms=10_000
        )

    async def tell(self, notice: Notice) -> bool:
        """Whether anything has to be written for it."""
        self.count += 2
        written = self.keeper.noticed(notice, Place(self.count - 1, self.count))
        await asyncio.sleep(0)
        return written is not None

    def item(self, item_id: str) -> ItemRecord:
        return self.archive.items_of["sess_1"][item_id]

    @property
    def record(self) -> SessionRecord:
        return self.archive.kept["sess_1"]


def spoken_item(item_id: str = "a1") -> Message:
    spoken = SpokenText()
    spoken.add_sound(spoken.add_piece("one two three four"), 4000.0)
    spoken.finish()
    return Message(item_id, "assistant", (Part("output_audio", "", spoken),), "in_progress")


def ended(item: Message, text: str) -> Message:
    part = replace(item.parts[0], text=text, sent_ms=4000.0)
    return replace(item, parts=(part,), status="completed")


REPLY = ReplyState("resp_1", ReplyOptions())


async def answering(room: Room) -> Message:
    item = spoken_item()
    room.conversation.add(item)
    assert await room.tell(ReplyBegan(REPLY))
    assert await room.tell(OutputBegan("resp_1", 0, item, None))
    assert not await room.tell(TextGrew("resp_1", 0, "a1", "one", spoken=True))
    assert not await room.tell(PlaybackBegan("resp_1"))
    return item


async def test_what_the_user_says_is_written_with_its_place_and_its_transcript() -> None:
    room = Room()
    item = Message("u1", "user", (Part("input_audio", None),))
    assert not await room.tell(SpeechBegan("u1", 200))
    assert not await room.tell(SpeechEnded("u1", 900))
    room.conversation.add(item)
    assert await room.tell(ItemAdded(item, None))
    assert (room.item("u1").start_ms, room.item("u1").end_ms) == (10_200, 10_900)
    assert (room.item("u1").text, room.item("u1").number) == ("", 1)
    room.conversation.transcribe("u1", "hello")
    assert await room.tell(TranscriptDone("u1", "hello", 700))
    record = room.item("u1")
    assert (record.text, record.number, record.at_s) == ("hello", 1, 1000.0)
    assert (record.body["added"], record.body["told"]) == (5, 8)
    assert room.archive.commits[-1] == (room.record, record), "in one commit"
    assert room.record.state["input_sequence"] == 7
    assert room.record.state["clock_ms"] == 10_500
    assert not await room.tell(Cleared())


async def test_an_utterance_that_could_not_be_transcribed_says_so() -> None:
    room = Room()
    item = Message("u1", "user", (Part("input_audio", None),))
    assert not await room.tell(IdleTimedOut("u1", 100, 300))
    room.conversation.add(item)
    await room.tell(ItemAdded(item, None))
    assert (room.item("u1").start_ms, room.item("u1").end_ms) == (10_100, 10_300)
    assert await room.tell(TranscriptBroke("u1", "stt_gone", "gone"))
    assert room.item("u1").body["failed"] == "stt_gone"
    assert await room.tell(TranscriptBroke("u2", "stt_gone", "of one that was deleted"))


async def test_times_of_utterances_that_never_became_items_are_not_kept_for_ever() -> None:
    room = Room()
    for number in range(MAX_TIMES + 5):
        await room.tell(SpeechBegan(f"u{number}", number))
    assert len(room.keeper._times) == MAX_TIMES


async def test_an_answer_is_written_as_it_was_heard() -> None:
    room = Room()
    item = await answering(room)
    assert (room.item("a1").text, room.item("a1").status) == ("", "in_progress")
    assert await room.tell(HeardSoFar("resp_1", "a1", 1100, "one", (), ended=False))
    assert (room.item("a1").text, room.item("a1").body["heard_ms"]) == ("one", 1100)
    assert room.item("a1").body["item"]["parts"][0]["spoken"] is None
    done = ended(item, "one two three four")
    room.conversation.put(done)
    assert await room.tell(OutputEnded("resp_1", 0, done, "", None))
    assert (room.item("a1").text, room.item("a1").status) == ("one", "completed")
    assert await room.tell(ReplyEnded(replace(REPLY, status="completed", output=(done,))))
    assert room.record.state["replies"]["resp_1"]["status"] == "completed"
    assert not await room.tell(PlaybackEnded("resp_1", "a1", 4000, cut=False))
    assert await room.tell(HeardSoFar("resp_1", "a1", 4000, "one two three four", (), ended=True))
    record = room.item("a1")
    assert record.text == "one two three four"
    assert "heard_ms" not in record.body
    assert record.body["item"]["parts"][0]["spoken"]["duration_ms"] == 4000
    assert (record.number, record.start_ms) == (1, 10_500)


async def test_where_nobody_is_told_what_was_heard_the_mouth_is_asked() -> None:
    room = Room(Owner(is_watched=False))
    item = await answering(room)
    room.heard_ms = 2_100.0
    done = ended(item, "one two three four")
    room.conversation.put(done)
    await room.tell(OutputEnded("resp_1", 0, done, "", None))
    assert room.item("a1").text == "one two"
    assert await room.tell(PlaybackEnded("resp_1", "a1", 4000, cut=False))
    assert room.item("a1").text == "one two three four"


async def test_an_answer_that_was_never_played_and_one_that_is_cut() -> None:
    room = Room()
    item = spoken_item("a0")
    room.conversation.add(item)
    await room.tell(OutputBegan("resp_0", 0, item, None))
    done = replace(ended(item, ""), status="incomplete")
    room.conversation.put(done)
    await room.tell(OutputEnded("resp_0", 0, done, "", None))
    assert (room.item("a0").text, room.item("a0").status) == ("", "incomplete")
    assert "heard_ms" not in room.item("a0").body
    await answering(room)
    assert await room.tell(ItemTruncated("a1", 0, 2_100))
    assert room.item("a1").text == "one two"


async def test_a_message_that_was_cut_after_its_end_was_told_is_written_with_the_answers() -> None:
    room = Room()
    item = await answering(room)
    done = ended(item, "one two three four")
    room.conversation.put(done)
    await room.tell(OutputEnded("resp_1", 0, done, "", None))
    await room.tell(HeardSoFar("resp_1", "a1", 4000, "one two three four", (), ended=True))
    room.conversation.put(ended(item, "one"))
    await room.tell(ReplyEnded(replace(REPLY, status="completed", output=(done,))))
    assert room.item("a1").text == "one"


async def test_answers_out_of_band_are_in_no_history() -> None:
    room = Room()
    aside = replace(REPLY, options=ReplyOptions(out_of_band=True))
    item = spoken_item()
    assert not await room.tell(ReplyBegan(aside))
    assert not await room.tell(OutputBegan("resp_1", 0, item, None, aside=True))
    assert not await room.tell(OutputEnded("resp_1", 0, item, "", None, aside=True))
    assert not await room.tell(ReplyEnded(aside))
    assert not room.archive.commits


async def test_only_the_last_answers_are_remembered() -> None:
    room = Room()
    for number in range(MAX_REPLIES + 3):
        await room.tell(ReplyBegan(replace(REPLY, id=f"resp_{number}")))
    assert list(room.record.state["replies"]) == [f"resp_{n}" for n in range(3, MAX_REPLIES + 3)]


async def test_tools_of_servers_are_written() -> None:
    room = Room()
    listing = ToolList("l1", "shop", status="in_progress")
    call = ServerCall("c1", "shop", "buy", "{}", status="in_progress")
    for item in (listing, call):
        room.conversation.add(item)
    assert await room.tell(ListingBegan(listing, None))
    assert await room.tell(OutputBegan("resp_1", 0, call, "l1"))
    room.conversation.put(replace(listing, status="completed"))
    assert await room.tell(ListingEnded(replace(listing, status="completed"), None, failed=False))
    assert room.item("l1").status == "completed"
    room.conversation.put(replace(call, output="bought", status="completed"))
    assert await room.tell(ServerCallEnded(replace(call, output="bought"), 0, "l1"))
    assert room.item("c1").text == "buy {} bought"
    assert (room.item("c1").number, room.item("c1").body["previous"]) == (2, "l1")


async def test_what_is_deleted_is_gone_and_stays_gone() -> None:
    room = Room()
    item = Message("u1", "user", (Part("input_text", "x"),))
    room.conversation.add(item)
    await room.tell(ItemAdded(item, None))
    room.conversation.delete("u1")
    assert await room.tell(ItemDeleted("u1"))
    assert not room.archive.items_of["sess_1"]
    assert not await room.tell(ItemTruncated("u1", 0, 0))
    assert room.keeper.again("u1", Place()) is None


async def test_turns_are_written_and_waited_for() -> None:
    room = Room()
    assert not await room.tell(TurnOver({}))
    turn = room.meters.begin(Turn("sess_1", "u1", "now", 0.0))
    room.meters.end(turn, "answered")
    room.meters.end(room.meters.begin(Turn("sess_2", "u1", "now", 0.0)), "answered")
    assert await room.tell(TurnOver({}))
    (record,) = room.archive.turned
    assert (record.session_id, record.item_id, record.body["outcome"]) == (
        "sess_1",
        "u1",
        "answered",
    )
    room.keeper.close(for_good=True)
    assert not room.meters.told


@pytest.mark.parametrize("for_good", [True, False])
async def test_what_is_left_when_it_is_over(for_good: bool) -> None:
    room = Room()
    await answering(room)
    call = FunctionCall("f1", "call_1", "dice", "{", "in_progress")
    room.conversation.add(call)
    await room.tell(OutputBegan("resp_1", 1, call, "a1"))
    await room.tell(HeardSoFar("resp_1", "a1", 1100, "one", (), ended=False))
    room.heard_ms, room.now_s = 2_100.0, 1050.0
    room.keeper.close(for_good=for_good)
    await asyncio.sleep(0)
    record = room.record
    assert (record.created_s, record.active_s) == (1000.0, 1050.0)
    if for_good:
        assert (record.ended_s, record.token_hashes) == (1050.0, ())
        assert (room.item("a1").text, room.item("a1").status) == ("one two", "incomplete")
        assert room.item("f1").status == "incomplete"
    else:
        assert (record.ended_s, record.expires_s) == (None, 1050.0 + RESUMABLE_S)
        assert record.token_hashes == ("abc",)
        assert room.item("a1").text == "one", "what the client was told"
        assert "heard_ms" in room.item("a1").body
