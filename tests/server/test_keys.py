import json
import os
import stat
import threading
from pathlib import Path

import pytest

from duologue.core.errors import SetupError
from duologue.server.keys import MAX_FILE_BYTES, MAX_KEYS, KeyBook, KeyFile, digest


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "data" / "api-keys.json")


def refused(error: "pytest.ExceptionInfo[SetupError]") -> str:
    assert error.value.remedy
    return error.value.code


def test_only_a_hash_is_kept_and_nobody_else_may_read_it(file: KeyFile) -> None:
    secret = file.add("kitchen", max_sessions=2, per_minute=0)
    assert secret.startswith("dl_")
    assert len(secret) == len("dl_") + 43  # 32 bytes in base64
    text = file.path.read_text()
    assert secret not in text
    assert secret[3:] not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    (key,), _ = file.read()
    assert (key.name, key.max_sessions, key.per_minute) == ("kitchen", 2, 0)
    assert key.sha256 == digest(secret)
    assert abs(key.created_at - file.path.stat().st_mtime) < 5


def test_keys_differ_and_one_is_revoked_alone(file: KeyFile) -> None:
    first, second = file.add("a"), file.add("b")
    assert first != second
    assert file.revoke("a") == 1
    book = KeyBook(file.path)
    assert book.made(first) is None
    found = book.made(second)
    assert found is not None
    assert found.name == "b"


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a" * 65, "env-1", "ä", "a\n"])
def test_names_that_cannot_be(file: KeyFile, name: str) -> None:
    with pytest.raises(SetupError) as error:
        file.add(name)
    assert refused(error) == "key_name_invalid"


def test_a_name_is_taken_once(file: KeyFile) -> None:
    file.add("a")
    with pytest.raises(SetupError) as error:
        file.add("a")
    assert refused(error) == "key_exists"
    with pytest.raises(SetupError) as error:
        file.revoke("b")
    assert refused(error) == "key_unknown"


@pytest.mark.parametrize(("sessions", "rate"), [(-1, 1), (1, -1), (10**9, 1), (1, 10**9)])
def test_limits_that_cannot_be(file: KeyFile, sessions: int, rate: int) -> None:
    with pytest.raises(SetupError) as error:
        file.add("a", max_sessions=sessions, per_minute=rate)
    assert refused(error) == "key_limit_invalid"
    assert not file.path.exists()


def test_writers_at_the_same_time_lose_nothing(file: KeyFile) -> None:
    def add(number: int) -> None:
        for again in range(5):
            KeyFile(file.path).add(f"k{number}.{again}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys, _ = file.read()
    assert len({key.name for key in keys}) == 40
    assert {p.name for p in file.path.parent.iterdir()} == {"api-keys.json", "api-keys.json.lock"}


def test_their_number_is_bounded(file: KeyFile) -> None:
    file.add("a")
    one = json.loads(file.path.read_text())["keys"][0]
    many = [{**one, "name": f"k{n}", "sha256": f"{n:064x}"} for n in range(MAX_KEYS)]
    file.path.write_text(json.dumps({"version": 1, "keys": many}))
    with pytest.raises(SetupError) as error:
        file.add("b")
    assert refused(error) == "too_many_keys"


GOOD = {"name": "a", "sha256": "0" * 64, "created_at": 1}
BAD = {
    "empty": "",
    "cut off": '{"version":1,"keys":[',
    "another version": json.dumps({"version": 2, "keys": []}),
    "no list": json.dumps({"version": 1, "keys": {}}),
    "a hash cut off": json.dumps({"version": 1, "keys": [{**GOOD, "sha256": "0" * 63}]}),
    "an unknown field": json.dumps({"version": 1, "keys": [{**GOOD, "admin": True}]}),
    "a limit below 0": json.dumps({"version": 1, "keys": [{**GOOD, "per_minute": -1}]}),
    "a name twice": json.dumps({"version": 1, "keys": [GOOD, {**GOOD, "sha256": "1" * 64}]}),
    "a key twice": json.dumps({"version": 1, "keys": [GOOD, {**GOOD, "name": "b"}]}),
    "much too large": " " * (MAX_FILE_BYTES + 1),
    "no text": "\udcff",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_file_that_is_none_stops_the_start_and_every_change(file: KeyFile, text: str) -> None:
    file.path.parent.mkdir()
    data = text.encode("utf-8", "surrogateescape")
    file.path.write_bytes(data)
    for act in (lambda: KeyBook(file.path), lambda: file.add("b"), lambda: file.revoke("a")):
        with pytest.raises(SetupError) as error:
            act()
        assert refused(error) == "key_file_invalid"
        assert str(file.path) in error.value.message
    assert file.path.read_bytes() == data


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, no folder")
    with pytest.raises(SetupError) as error:
        KeyFile(tmp_path / "data" / "api-keys.json").add("a")
    assert refused(error) == "key_file_unwritable"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as error:
        KeyBook(tmp_path)
    assert refused(error) == "key_file_unreadable"


def test_a_running_server_sees_what_changes(file: KeyFile) -> None:
    book = KeyBook(file.path, ["sesame"])
    first = file.add("a")
    assert book.made(first) is None
    assert book.refresh() == ()
    assert book.made(first) is not None
    second = file.add("b")
    file.revoke("a")
    assert [key.name for key in book.refresh()] == ["a"]
    assert book.made(first) is None
    assert book.made(second) is not None
    assert book.refresh() == ()


def test_a_name_that_is_used_again_is_another_key(file: KeyFile) -> None:
    first = file.add("a")
    book = KeyBook(file.path)
    file.revoke("a")
    second = file.add("a")
    (gone,) = book.refresh()
    assert gone.sha256 == digest(first)
    assert book.by_sha256(digest(first)) is None
    assert book.by_sha256(digest(second)) is not None


def asks(book: KeyBook) -> bool:
    book.refresh()
    return book.is_asking


def test_whether_a_key_is_asked_for(file: KeyFile) -> None:
    assert not asks(KeyBook())
    assert asks(KeyBook(given=["sesame"]))
    book = KeyBook(file.path)
    assert not asks(book)
    file.add("a")
    assert asks(book)
    file.revoke("a")
    assert asks(book)
    assert asks(KeyBook(file.path))  # an empty file is a shut door
    file.path.unlink()
    assert asks(book)  # what was shut does not open by itself
    assert not asks(KeyBook(file.path))


def test_a_file_that_breaks_under_a_server_revokes_none_and_opens_none(
    file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    secret = file.add("a")
    book = KeyBook(file.path, ["sesame"])
    good = file.path.read_bytes()
    file.path.write_bytes(good[:-10])
    assert book.refresh() == ()
    fault = book.fault
    assert fault is not None
    assert book.made(secret) is None
    assert book.by_sha256(digest(secret)) is None
    assert book.given("sesame") is not None
    for _ in range(3):
        book.refresh()
    assert caplog.text.count("no key of the key file opens") == 1
    file.path.write_bytes(good)
    assert book.refresh() == ()
    assert book.made(secret) is not None


def test_a_file_made_unreadable_and_readable_again_is_noticed(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = file.add("a")
    book = KeyBook(file.path)
    file.path.chmod(0o000)
    if os.access(file.path, os.R_OK):  # root reads everything

        def deny(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", deny)
    book.refresh()
    assert book.fault is not None
    assert book.fault.code == "key_file_unreadable"
    monkeypatch.undo()
    file.path.chmod(0o600)
    book.refresh()
    assert book.made(secret) is not None


def test_given_keys_have_names_and_cannot_look_like_ephemeral_ones() -> None:
    book = KeyBook(given=["sesame", "second"])
    found = book.given("second")
    assert found is not None
    assert found.name == "env-2"
    assert book.names() == {"env-1", "env-2"}
    for wrong in ("sesam", "sesamee", "SESAME", "", "ü", "\udcff"):
        assert book.given(wrong) is None
    with pytest.raises(SetupError) as error:
        KeyBook(given=["ek_mine"])
    assert refused(error) == "api_key_invalid"


def test_a_file_that_breaks_where_there_was_none_shuts_the_door(file: KeyFile) -> None:
    book = KeyBook(file.path)
    file.path.parent.mkdir()
    file.path.write_text("nonsense")
    assert asks(book)
