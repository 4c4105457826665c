"""From a URL to a store."""

from pathlib import Path

import pytest

from duologue.core.errors import SetupError
from duologue.store.archive import DatabaseArchive, Store
from duologue.store.nothing import NoArchive
from duologue.store.opening import open_archive, place_of
from tests.store.records import a_session, an_item


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def _used(store: Store) -> int:
    await store.start()
    await store.write(a_session(), an_item(1))
    found = len(await store.items("s"))
    await store.aclose()
    return found


def test_where_it_is_can_be_told_without_a_password(tmp_path: Path) -> None:
    urls = ("", "off", "memory", "postgresql://me:secret@db/x", "sqlite:////var/d.db")
    places = [place_of(url, tmp_path) for url in urls]
    assert places == [
        str(tmp_path / "duologue.db"),
        "",
        "memory, until it stops",
        "PostgreSQL",
        "/var/d.db",
    ]


async def test_nothing_said_is_a_file_in_the_default_folder(tmp_path: Path) -> None:
    assert await _used(open_archive(" ", tmp_path / "data")) == 1
    assert (tmp_path / "data" / "duologue.db").is_file()


async def test_a_file_by_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert await _used(open_archive(f"sqlite:///{tmp_path}/an%20absolute.db", Path("unused"))) == 1
    assert await _used(open_archive("sqlite:///relative.db", Path("unused"))) == 1
    assert _names(tmp_path) == {"an absolute.db", "relative.db"}


async def test_memory_is_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    assert await _used(open_archive("memory", tmp_path)) == 1
    assert not _names(tmp_path)


def test_postgresql_by_both_its_names(tmp_path: Path) -> None:
    for scheme in ("postgresql", "postgres"):
        store = open_archive(f"{scheme}://me@localhost/db", tmp_path)
        assert isinstance(store, DatabaseArchive)


@pytest.mark.parametrize("word", ["off", "none"])
async def test_a_store_that_keeps_nothing(tmp_path: Path, word: str) -> None:
    store = open_archive(word, tmp_path)
    assert isinstance(store, NoArchive)
    assert await _used(store) == 0
    assert store.write(a_session()).done()
    assert await store.session("s") is None
    assert not await store.sessions()
    assert not await store.last_items("s")
    assert not await store.turns("s")
    assert not await store.sounds("s")
    assert not await store.erase("s")
    assert (await store.erase_old(sounds_before_s=1.0, sessions_before_s=1.0)).sessions == 0
    assert store.stats.waiting == 0
    assert not _names(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hunter2@localhost/db",
        "sqlite://host/file.db",
        "sqlite:///",
        "sqlite:///file.db?mode=ro",
        "postgresql:/hunter2",
        "//[hunter2",
        "hunter2",
    ],
)
def test_anything_else_is_refused_with_a_remedy(tmp_path: Path, url: str) -> None:
    with pytest.raises(SetupError) as caught:
        open_archive(url, tmp_path)
    assert caught.value.code == "store_url_invalid"
    assert "postgresql://" in caught.value.remedy
    assert "hunter2" not in str(caught.value)
