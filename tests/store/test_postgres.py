"""What only a server has: a URL with a password, a driver, a user with too few rights."""

import logging
import sys

import pytest

from duologue.core.errors import SetupError
from duologue.store.archive import DatabaseArchive
from duologue.store.postgres import PostgresBackend
from tests.store.postgres_server import PASSWORD, RunningPostgres
from tests.store.records import a_session, an_item


def _all_text(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error)


async def _refused(url: str, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SetupError) as caught:
        await DatabaseArchive(PostgresBackend(url)).start()
    assert caught.value.remedy
    return _all_text(caught.value) + caplog.text


async def test_a_wrong_password_is_told_and_not_shown(
    postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    said = await _refused(postgres.url("public", password="hunter2/ü"), caplog)
    assert "password authentication failed" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@[::1/db",
        "postgresql://me:hun%ter2@localhost/db",
        "postgresql://me:hunter2@localhost/db?nonsense=hunter2",
        "postgresql://me:a@hunter2@localhost/db",
        "postgresql://me:1/hunter2@localhost/db",
        "postgresql://me:hunter2/a@localhost/db",
        "postgresql://me:hunter2@localhost:port/db",
    ],
)
def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        PostgresBackend(url)
    assert caught.value.code == "store_url_invalid"
    assert "hunter2" not in _all_text(caught.value)
    assert "ter2" not in str(caught.value)


async def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    said = await _refused("postgresql://me:hunter2@127.0.0.1:1/db", caplog)
    assert "127.0.0.1" in said
    assert "hunter2" not in said


async def test_a_user_who_may_not_create_tables(
    postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.url()
    schema = url.rsplit("%3D", 1)[1]
    postgres.run(
        f"CREATE ROLE guest LOGIN PASSWORD 'guest'; GRANT USAGE ON SCHEMA {schema} TO guest"
    )
    guest = url.replace(url.partition("//")[2].partition("@")[0], "guest:guest")
    assert "permission denied" in await _refused(guest, caplog)
    owner = DatabaseArchive(PostgresBackend(url))
    await owner.start()
    await owner.aclose()
    postgres.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO guest")
    archive = DatabaseArchive(
        PostgresBackend(guest)
    )  # once they are there, these rights are enough
    await archive.start()
    await archive.write(a_session(), an_item(1))
    await archive.aclose()


async def test_the_driver_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SetupError) as caught:
        PostgresBackend("postgresql://localhost/db")
    assert "pip install 'duologue[postgres]'" in caught.value.remedy


async def test_nothing_of_the_url_is_logged(
    postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    archive = DatabaseArchive(PostgresBackend(postgres.url()))
    await archive.start()
    archive.write(an_item(1, text="a secret", body={"text": "a secret"}))
    await archive.write(a_session())
    await archive.aclose()
    assert "ForeignKeyViolation" in caplog.text
    assert PASSWORD not in caplog.text
    assert "secret" not in caplog.text
    assert "i1" not in caplog.text


async def test_json_is_json_there(postgres: RunningPostgres) -> None:
    url = postgres.url()
    archive = DatabaseArchive(PostgresBackend(url))
    await archive.start()
    await archive.write(a_session(settings={"language": "zh"}))
    await archive.aclose()
    backend = PostgresBackend(url)
    backend.open()
    query = "SELECT settings->>'language', jsonb_typeof(settings) FROM duologue_sessions"
    assert backend.read((query, ())) == [("zh", "object")]
    backend.close()
