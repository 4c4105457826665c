"""What every store keeps of `ports.Archive`, on SQLite and on PostgreSQL."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from types import MappingProxyType

import pytest

from duologue.core.errors import OurError
from duologue.core.records import ItemGone, SessionRecord, SoundRecord
from duologue.store.archive import BATCH, DatabaseArchive, Erased
from tests.store.conftest import Database
from tests.store.records import a_session, a_sound, a_turn, an_item


@pytest.fixture
async def archive(database: Database) -> AsyncIterator[DatabaseArchive]:
    opened = database.archive()
    await opened.start()
    yield opened
    await opened.aclose()


async def test_a_session_comes_back_as_it_was(archive: DatabaseArchive) -> None:
    tokens = tuple(hashlib.sha256(bytes([n])).hexdigest() for n in range(3))
    record = SessionRecord(
        *("s", "realtime", "env-1", 1_700_000_000.125, 1_700_000_001.5, 1_700_003_600.0),
        ended_s=1_700_000_002.0625,
        token_hashes=tokens,
        settings={"language": "zh", "nested": {"list": [1, 2.5, None, True]}},
        state={},
    )
    await archive.write(record)
    assert await archive.session("s") == record
    assert await archive.session("another") is None


async def test_a_later_record_replaces_the_session_and_keeps_what_belongs_to_it(
    archive: DatabaseArchive,
) -> None:
    await archive.write(a_session(), an_item(1))
    later = a_session(active_s=200.0, ended_s=300.0, state={"at": 1})
    await archive.write(later)
    assert await archive.session("s") == later
    assert await archive.items("s") == [an_item(1)]


async def test_an_item_comes_back_as_it_was(archive: DatabaseArchive) -> None:
    item = an_item(
        *(7,),
        status="incomplete",
        start_ms=2**40,
        end_ms=2**40 + 1,
        body=MappingProxyType({"words": [["ja", 0.1]], "inner": MappingProxyType({"a": 1})}),
    )
    await archive.write(a_session(), item)
    (found,) = await archive.items("s")
    assert found.body == {"words": [["ja", 0.1]], "inner": {"a": 1}}
    assert (found.status, found.start_ms, found.end_ms) == ("incomplete", 2**40, 2**40 + 1)


async def test_items_are_found_by_number(archive: DatabaseArchive) -> None:
    numbers = [5, 1, 4, 2, 9, 7]
    await archive.write(
        a_session(),
        a_session("other"),
        *(an_item(n) for n in numbers),
        an_item(3, session_id="other"),
    )
    assert [i.number for i in await archive.items("s")] == [1, 2, 4, 5, 7, 9]
    assert [i.number for i in await archive.items("s", after=4)] == [5, 7, 9]
    assert [i.number for i in await archive.items("s", after=2, limit=2)] == [4, 5]
    assert [i.number for i in await archive.last_items("s", 3)] == [5, 7, 9]
    assert await archive.items("s", after=9) == []
    assert await archive.items("s", limit=0) == []
    assert await archive.items("nobody") == []


async def test_a_later_item_replaces_the_earlier_and_keeps_its_place(
    archive: DatabaseArchive,
) -> None:
    await archive.write(a_session(), an_item(1), an_item(2))
    later = an_item(1, text="what was heard", body={"cut": True})
    await archive.write(replace(later, number=3))
    first, second = await archive.items("s")
    assert (first.number, first.text, first.body) == (1, "what was heard", {"cut": True})
    assert second == an_item(2)


async def test_an_item_that_is_gone_is_gone(archive: DatabaseArchive) -> None:
    await archive.write(a_session(), an_item(1), an_item(2))
    await archive.write(ItemGone("s", "i1"), ItemGone("s", "never there"))
    assert [i.number for i in await archive.items("s")] == [2]


async def test_a_number_is_never_used_twice(archive: DatabaseArchive) -> None:
    await archive.write(a_session(), an_item(1))
    with pytest.raises(OurError, match="could not") as caught:
        await archive.write(an_item(2), replace(an_item(3), number=1))
    assert caught.value.code == "store_failed"
    assert [i.number for i in await archive.items("s")] == [1]


async def test_an_item_of_no_session_fails_alone(archive: DatabaseArchive) -> None:
    futures = [
        archive.write(a_session()),
        archive.write(an_item(1), an_item(2, session_id="nobody")),
        archive.write(an_item(3)),
    ]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), OurError, type(None)]
    assert [i.number for i in await archive.items("s")] == [3]
    assert (archive.stats.written, archive.stats.failed) == (2, 1)


async def test_turns_and_sounds_come_back_in_order(archive: DatabaseArchive) -> None:
    turns = [a_turn("b", 3.0, outcome="answered"), a_turn("a", 1.5), a_turn("", 2.0)]
    sounds = [a_sound(n, data=bytes([n % 251]) * n) for n in (400, 0, 200)]
    await archive.write(a_session(), *turns, *sounds)
    assert await archive.turns("s") == sorted(turns, key=lambda turn: turn.at_s)
    assert [turn.at_s for turn in await archive.turns("s", limit=2)] == [1.5, 2.0]
    assert await archive.sounds("s") == sorted(sounds, key=lambda sound: sound.start_ms)
    assert [sound.start_ms for sound in await archive.sounds("s", after_ms=0)] == [200, 400]


async def test_whoever_pages_through_sounds_misses_no_side(archive: DatabaseArchive) -> None:
    sounds = [a_sound(n, side=side) for n in (0, 20, 40) for side in ("assistant", "user")]
    await archive.write(a_session(), *sounds)
    found: list[SoundRecord] = []
    after_ms = -1
    while page := await archive.sounds("s", after_ms=after_ms, limit=1):
        found += page
        after_ms = page[-1].start_ms
    assert found == sounds


async def test_the_same_write_twice_is_one(archive: DatabaseArchive) -> None:
    """What a lost connection makes of a write whose commit was not acknowledged."""
    changes = (a_session(), an_item(1), a_turn("i1", 1.0), a_sound(0), ItemGone("s", "i9"))
    await archive.write(*changes)
    await archive.write(*changes)
    assert len(await archive.items("s")) == 1
    assert len(await archive.turns("s")) == 1
    assert len(await archive.sounds("s")) == 1


async def test_sessions_are_listed_by_their_last_activity(archive: DatabaseArchive) -> None:
    await archive.write(
        a_session("old", active_s=1.0, expires_s=50.0, owner="ann"),
        a_session("new", active_s=3.0, owner="ann"),
        a_session("ended", active_s=2.0, ended_s=2.5, owner="ann"),
        a_session("foreign", active_s=4.0, owner="bob"),
    )

    async def listed(**by: object) -> list[str]:
        return [s.id for s in await archive.sessions(**by)]  # type: ignore[arg-type]

    assert await listed() == ["foreign", "new", "ended", "old"]
    assert await listed(limit=2) == ["foreign", "new"]
    assert await listed(owner="ann") == ["new", "ended", "old"]
    assert await listed(owner="") == []
    assert await listed(owner="ann", resumable_at_s=49.0) == ["new", "old"]
    assert await listed(resumable_at_s=50.0) == ["foreign", "new"]


async def test_an_erased_session_leaves_nothing(archive: DatabaseArchive) -> None:
    await archive.write(a_session(), an_item(1), a_turn("i1", 1.0), a_sound(0), a_session("other"))
    assert await archive.erase("s")
    assert not await archive.erase("s")
    assert await archive.session("s") is None
    assert not await archive.items("s")
    assert not await archive.turns("s")
    assert not await archive.sounds("s")
    assert await archive.session("other") is not None


async def test_what_is_old_is_erased_in_pieces(archive: DatabaseArchive) -> None:
    many = BATCH * 2 + 1
    await archive.write(
        a_session(expires_s=1_000.0),
        *(a_sound(n, at_s=float(n)) for n in range(many)),
        a_session("ended long ago", ended_s=10.0),
        a_session("expired long ago", expires_s=10.0),
        a_session("ended lately", ended_s=60.0),
    )
    commits = archive.stats.written
    erased = await archive.erase_old(sounds_before_s=float(many - 1), sessions_before_s=50.0)
    assert erased == Erased(sounds=many - 1, sessions=2)
    assert archive.stats.written - commits == 3 + 1
    assert [s.start_ms for s in await archive.sounds("s")] == [many - 1]
    assert {s.id for s in await archive.sessions()} == {"s", "ended lately"}
    nothing = await archive.erase_old(sounds_before_s=None, sessions_before_s=None)
    assert nothing == Erased()


@pytest.mark.parametrize(
    "said",
    ["你好，世界", "ĝis la revido 👋🏽", "quote ' \" ` ; -- \\u0000 %s ? $1", "\u202eעברית", ""],
)
async def test_any_script_comes_back(archive: DatabaseArchive, said: str) -> None:
    item = an_item(1, text=said, body={"text": said, said: [said]})
    await archive.write(a_session("s", owner=said), item)
    assert await archive.items("s") == [item]
    assert [s.owner for s in await archive.sessions(owner=said)] == [said]


async def test_what_no_database_takes_is_replaced(archive: DatabaseArchive) -> None:
    said, kept = "a\0b\ud83dc\udc00", "a\ufffdb\ufffdc\ufffd"
    await archive.write(
        a_session("\0id", owner=said),
        an_item(1, session_id="\0id", text=said, body={said: [said, {"x": said}]}),
    )
    (item,) = await archive.items("\0id")
    assert (item.text, item.body) == (kept, {kept: [kept, {"x": kept}]})
    assert [s.owner for s in await archive.sessions(owner=said)] == [kept]
    assert await archive.erase("\0id")


async def test_what_looks_like_one_is_not_touched(archive: DatabaseArchive) -> None:
    body = {"text": "a backslash, then u0000: \\u0000"}
    await archive.write(a_session(), an_item(1, body=body))
    assert (await archive.items("s"))[0].body == body


async def test_a_huge_item_comes_back(archive: DatabaseArchive) -> None:
    words = "ünïcödé " * 131_072
    await archive.write(
        a_session(), an_item(1, text=words, body={"text": words}), a_sound(0, data=bytes(2**20))
    )
    (item,) = await archive.items("s")
    assert item.text == item.body["text"] == words
    assert (await archive.sounds("s"))[0].data == bytes(2**20)


@pytest.mark.parametrize(
    "change",
    [
        an_item(1, body={"p": float("nan")}),
        an_item(1, body={"deep": [{"p": float("-inf")}]}),
        an_item(1, body={"p": object()}),
        an_item(1, at_s=float("inf")),
        an_item(1, start_ms=2**70),
        a_session(expires_s=float("nan")),
        a_session(state={"p": b"bytes"}),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_nothing_else_is(
    archive: DatabaseArchive, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    await archive.write(a_session())
    with pytest.raises(OurError) as caught:
        await archive.write(an_item(9), change)  # type: ignore[arg-type]
    assert caught.value.code == "store_failed"
    await archive.write(an_item(2))
    assert await archive.items("s") == [an_item(2)]
    assert "Traceback" not in caplog.text


async def test_reads_see_what_was_written_before_them(archive: DatabaseArchive) -> None:
    archive.write(a_session())
    for number in range(1, 101):
        archive.write(an_item(number))
    assert len(await archive.items("s")) == 100


async def test_it_says_what_it_does(archive: DatabaseArchive) -> None:
    futures = [archive.write(a_session()), *(archive.write(an_item(n)) for n in range(1, 20))]
    waiting = archive.stats
    assert waiting.waiting == 20
    assert waiting.waiting_bytes > 20 * 8
    await asyncio.wait(futures)
    done = archive.stats
    assert (done.written, done.failed, done.waiting, done.waiting_bytes) == (20, 0, 0, 0)
    assert 0 < done.commit_ms <= done.commit_max_ms


async def test_it_is_there_again_when_it_is_opened_again(database: Database) -> None:
    archive = database.archive()
    for number in (1, 2, 3):
        await archive.start()
        archive.write(a_session())
        archive.write(an_item(number))  # not waited for: closing writes what waits
        await archive.aclose()
        await archive.aclose()
    await archive.start()
    assert [i.number for i in await archive.items("s")] == [1, 2, 3]
    await archive.aclose()


async def test_closed_it_fails_politely(database: Database) -> None:
    archive = database.archive()
    with pytest.raises(OurError, match="not open"):
        await archive.write(a_session())
    with pytest.raises(OurError, match="not open"):
        await archive.session("s")
