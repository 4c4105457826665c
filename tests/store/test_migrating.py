"""Databases of earlier versions, of later ones, and of several servers that start at once."""

import asyncio
import threading
from dataclasses import replace

import pytest

from duologue.core.errors import SetupError
from duologue.store.backend import Backend
from duologue.store.migrating import Migration, known_migrations
from tests.store.conftest import Database
from tests.store.records import a_session, a_sound, a_turn, an_item

KNOWN = known_migrations()


def test_the_steps_are_numbered_without_a_hole() -> None:
    assert [step.number for step in KNOWN] == list(range(1, len(KNOWN) + 1))
    assert len(KNOWN) >= 2
    assert all(step.statements for step in KNOWN)


@pytest.mark.parametrize("upto", range(1, len(KNOWN)))
async def test_an_older_database_is_brought_up_to_date_with_what_is_in_it(
    database: Database, upto: int
) -> None:
    old = database.backend(KNOWN[:upto])
    old.open()
    _fill(old)
    assert _applied(old) == list(range(1, upto + 1))
    old.close()

    archive = database.archive()
    await archive.start()
    assert (await archive.session("s")) == a_session(settings={"language": "eo"})
    assert await archive.items("s") == [an_item(1, text="ĝis"), an_item(2)]
    assert await archive.turns("s") == [a_turn("i1", 5.0, outcome="answered")]
    await archive.write(a_sound(0))
    assert await archive.sounds("s") == [a_sound(0)]
    await archive.aclose()

    new = database.backend()
    new.open()
    assert _applied(new) == [step.number for step in KNOWN]
    times = [row[0] for row in new.read(("SELECT applied_s FROM duologue_migrations", ()))]
    assert all(time > 1_700_000_000 for time in times)
    new.close()


def test_a_step_that_fails_leaves_nothing_of_itself(database: Database) -> None:
    broken = Migration(
        len(KNOWN) + 1, "broken.sql", ("CREATE TABLE duologue_half (id BIGINT)", "CREATE nonsense")
    )
    with pytest.raises(SetupError):
        database.backend((*KNOWN, broken)).open()
    mended = replace(broken, statements=broken.statements[:1])
    backend = database.backend((*KNOWN, mended))
    backend.open()
    assert _applied(backend)[-1] == mended.number
    backend.close()


async def test_a_newer_database_is_refused(database: Database) -> None:
    newer = Migration(len(KNOWN) + 1, "newer.sql", ("CREATE TABLE duologue_new (id BIGINT)",))
    backend = database.backend((*KNOWN, newer))
    backend.open()
    backend.close()
    archive = database.archive()
    with pytest.raises(SetupError, match="newer Duologue") as caught:
        await archive.start()
    assert caught.value.code == "store_too_new"
    await archive.aclose()


def test_servers_that_start_at_once_are_fine(database: Database) -> None:
    together = threading.Barrier(6)
    errors: list[BaseException] = []

    def start() -> None:
        backend = database.backend()
        together.wait(10)
        try:
            backend.open()
            backend.close()
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    backend = database.backend()
    backend.open()
    assert _applied(backend) == [step.number for step in KNOWN]
    backend.close()


async def test_two_servers_write_to_one_database(database: Database) -> None:
    first, second = database.archive(), database.archive()
    await first.start()
    await second.start()
    await first.write(a_session())
    futures = [
        archive.write(an_item(2 * n + offset))
        for n in range(1, 151)
        for offset, archive in enumerate((first, second))
    ]
    await asyncio.gather(*futures)
    assert [i.number for i in await second.items("s")] == list(range(2, 302))
    await first.aclose()
    await second.aclose()


def _applied(backend: Backend) -> list[int]:
    rows = backend.read(("SELECT number FROM duologue_migrations ORDER BY number", ()))
    return [row[0] for row in rows]


def _fill(backend: Backend) -> None:
    """By the statements of version 1, as they were then."""
    session = (
        "INSERT INTO duologue_sessions (id, kind, owner, created_s, active_s, expires_s, token_hashes, settings, "
        "state) VALUES ('s', 'streaming', '', 100.0, 100.0, 3700.0, '[]', '{\"language\": \"eo\"}', '{}')"
    )
    item = (
        "INSERT INTO duologue_items (session_id, id, number, kind, role, text, at_s, status, start_ms, end_ms, body) "
        "VALUES ('s', ?, ?, 'message', 'user', ?, ?, 'completed', 0, 0, '{}')"
    )
    turn = "INSERT INTO duologue_turns (session_id, at_s, item_id, body) VALUES ('s', 5.0, 'i1', ?)"
    backend.write(
        [
            (session, ()),
            (item, ("i1", 1, "ĝis", 101.0)),
            (item, ("i2", 2, "item 2", 102.0)),
            (turn, ('{"outcome": "answered"}',)),
        ]
    )
