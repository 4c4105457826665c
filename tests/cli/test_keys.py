"""`duologue keys`, as a person at a terminal meets it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from duologue.cli import keys
from duologue.server.keys import KeyBook

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def command(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "duologue.cli", "keys", *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        )

    return command


def test_a_key_is_shown_once_and_alone_on_its_line(run: Run, tmp_path: Path) -> None:
    done = run("add", "web", "--max-sessions", "3", "--per-minute", "0")
    assert done.returncode == 0, done.stderr
    (key,) = done.stdout.splitlines()  # so that KEY=$(duologue keys add web) works
    assert "only time" in done.stderr
    found = KeyBook(tmp_path / "duologue" / "api-keys.json").made(key)
    assert found is not None
    assert (found.name, found.max_sessions, found.per_minute) == ("web", 3, 0)
    listed = run("list")
    assert key not in listed.stdout
    web = next(line for line in listed.stdout.splitlines() if line.startswith("web "))
    assert web.split()[-3:] == ["3", "no", "limit"]


def test_keys_are_listed_for_programs(run: Run) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert "no keys" in run("list").stdout
    run("add", "a")
    run("add", "b", "--per-minute", "60")
    first, second = json.loads(run("list", "--json").stdout)
    assert (first["name"], first["max_sessions"], first["per_minute"]) == ("a", None, None)
    assert (second["name"], second["per_minute"]) == ("b", 60)
    assert "sha256" not in first
    assert "server's" in run("list").stdout


def test_the_last_key_that_goes_leaves_a_shut_door_and_says_so(run: Run) -> None:
    run("add", "a")
    run("add", "b")
    first, last = run("revoke", "a"), run("revoke", "b")
    assert (first.returncode, first.stderr) == (0, "")
    assert "No key is left" in last.stderr
    assert "api-keys.json" in last.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("add", "a b"), "key_name_invalid"),
        (("add", "taken"), "key_exists"),
        (("add", "x", "--max-sessions", "-1"), "key_limit_invalid"),
        (("revoke", "nobody"), "key_unknown"),
    ],
)
def test_errors_are_told_in_three_lines(run: Run, args: tuple[str, ...], code: str) -> None:
    run("add", "taken")
    done = run(*args)
    assert done.returncode == 1
    assert f"({code})" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 3
    assert done.stdout == ""


def test_a_broken_file_is_named_and_not_touched(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "duologue" / "api-keys.json"
    file.parent.mkdir()
    file.write_text("{")
    for args in (("list",), ("add", "a"), ("revoke", "a")):
        done = run(*args)
        assert (done.returncode, "key_file_invalid" in done.stderr) == (1, True)
        assert str(file) in done.stderr
    assert file.read_text() == "{"


def test_wrong_calls_exit_with_2(run: Run) -> None:
    for args in ((), ("fly",), ("add",), ("add", "a", "--per-minute", "many")):
        assert run(*args).returncode == 2
    assert keys.parser().prog == "duologue keys"
