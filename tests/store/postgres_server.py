"""A real PostgreSQL, from Debian's package, for as long as the tests run: in a folder and on a socket of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

PASSWORD = "p@ss:w/rd"
USER = "duologue"

_numbers = count(1)


def programs() -> Path | None:
    """Where the newest server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class RunningPostgres:
    """A server; each `url` is a schema of its own in its one database."""

    folder: Path
    process: "subprocess.Popen[str]"

    def url(self, schema: str = "", *, password: str = PASSWORD, **settings: str) -> str:
        """A fresh schema if none is named."""
        if not schema:
            schema = f"t{next(_numbers)}"
            self.run(f"CREATE SCHEMA {schema}")
        given = {"host": str(self.folder), "options": f"-csearch_path={schema}", **settings}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
        return f"postgresql://{USER}:{quote(password, safe='')}@/postgres?{query}"

    def run(self, statement: str) -> list[tuple[object, ...]]:
        """As the superuser, in a connection of its own."""
        import psycopg

        with psycopg.connect(self.url("public"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def postgres_server(bin_folder: Path) -> Iterator[RunningPostgres]:
    """Make a cluster, run it, remove it. PostgreSQL refuses root: it is run as the user `postgres` then."""
    folder = Path(tempfile.mkdtemp(prefix="duo-pg-"))  # short: it is in the name of a socket
    who: dict[str, object] = (
        {"user": "postgres", "group": "postgres", "extra_groups": []} if not os.getuid() else {}
    )
    if who:
        shutil.chown(folder, "postgres", "postgres")
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    try:
        made = subprocess.run(
            [
                *(bin_folder / "initdb", "--no-sync", "--no-instructions", "-D", folder / "data"),
                *("-U", USER, "-A", "scram-sha-256", "--pwfile", password_file),
                *("-E", "UTF8", "--locale", "C"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **who,  # type: ignore[call-overload]
        )
        assert made.returncode == 0, made.stderr
        with _serving(bin_folder, folder, who) as process:
            yield RunningPostgres(folder, process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _serving(
    bin_folder: Path, folder: Path, who: dict[str, object]
) -> Iterator["subprocess.Popen[str]"]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": "40",
        "autovacuum": "off",
        "max_worker_processes": "0",
    }
    process: subprocess.Popen[str] = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "INT"),  # it ends with the tests, even if they are killed
            *(bin_folder / "postgres", "-D", folder / "data"),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **who,  # type: ignore[call-overload]
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "ready to accept connections" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(30), "PostgreSQL did not start:\n" + "".join(lines)
        assert process.poll() is None, "".join(lines)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        reader.join(5)
        if process.stderr is not None:
            process.stderr.close()
