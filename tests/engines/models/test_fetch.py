"""Fetching for real: folders, wheels through pip itself, and (marked full) a hub that runs on this machine."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineUnavailable
from duologue.engines.models import wheel
from duologue.engines.models.fetch import fetch
from duologue.engines.models.forms import HubSource, LocalSource, Source, WheelSource
from duologue.engines.models.means import Means
from duologue.engines.models.sources import parse
from tests.engines.models.web import Page, Told, web

NOWHERE = "http://127.0.0.1:9/"
"""The discard port, where nothing listens."""


def fetched(source: Source, folder: Path) -> tuple[str, dict[str, bytes]]:
    into = folder / "into"
    got = fetch(source, into, place=Path("/models/it"), means=Means())
    return got.entry, {
        path.relative_to(into).as_posix(): path.read_bytes()
        for path in into.rglob("*")
        if path.is_file()
    }


def refused(source: Source, folder: Path) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        fetched(source, folder)
    assert caught.value.remedy or caught.value.code.startswith("model_source")
    return caught.value


# --- folders and files ---
def test_a_folder_is_copied_with_what_its_links_point_to(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"weights")
    source = tmp_path / "snapshot"
    (source / "deep").mkdir(parents=True)
    (source / "model.bin").symlink_to("../blob")
    (source / "deep" / "a.json").write_bytes(b"{}")
    files = {"model.bin": b"weights", "deep/a.json": b"{}"}
    assert fetched(LocalSource(str(source)), tmp_path) == ("", files)
    assert not (tmp_path / "into" / "model.bin").is_symlink()


def test_a_single_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(b"x")
    assert fetched(LocalSource(str(tmp_path / "it.onnx")), tmp_path) == (
        "it.onnx",
        {"it.onnx": b"x"},
    )


def test_a_folder_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    assert refused(LocalSource(str(tmp_path / "no")), tmp_path).code == "model_source_missing"
    (tmp_path / "bare" / "deeper").mkdir(parents=True)
    assert refused(LocalSource(str(tmp_path / "bare")), tmp_path).code == "model_source_empty"


# --- wheels ---
@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip sees."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-to-be-had\n"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(wheels / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_model/data/net.onnx", b"a model")
        wheel.writestr("tiny_model/data/voices/", b"")
        wheel.writestr("tiny_model/data/voices/a.bin", b"a")
        wheel.writestr("tiny_model/data/voices/deep/b.bin", b"b")
        wheel.writestr("tiny_model/data_more/c.bin", b"c")
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", about)
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", tag)
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return wheels


NET = WheelSource("tiny-model", "1.0", "tiny_model/data/net.onnx", sha256(b"a model").hexdigest())


@pytest.mark.usefixtures("index")
def test_a_file_is_taken_out_of_a_wheel_that_is_not_installed(tmp_path: Path) -> None:
    assert fetched(NET, tmp_path) == ("net.onnx", {"net.onnx": b"a model"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "wheels"]


@pytest.mark.usefixtures("index")
def test_a_folder_and_files_beside_it_are_taken_out_of_a_wheel(tmp_path: Path) -> None:
    source = parse("wheel:tiny-model==1.0:tiny_model/data/voices/,tiny_model/data/net.onnx")
    files = {"a.bin": b"a", "deep/b.bin": b"b", "net.onnx": b"a model"}
    assert fetched(source, tmp_path) == ("", files)


@pytest.mark.usefixtures("index")
def test_a_file_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    other = WheelSource(NET.package, NET.version, NET.member, "0" * 64)
    error = refused(other, tmp_path)
    assert error.code == "model_hash_mismatch"
    assert NET.sha256 in error.message


@pytest.mark.usefixtures("index")
def test_a_wheel_without_the_file_is_refused(tmp_path: Path) -> None:
    error = refused(WheelSource("tiny-model", "1.0", "tiny_model/other.onnx"), tmp_path)
    assert error.code == "wheel_member_missing"
    assert "tiny_model-1.0-py3-none-any.whl" in error.message


@pytest.mark.usefixtures("index")
def test_a_wheel_that_nobody_publishes_is_refused(tmp_path: Path) -> None:
    error = refused(WheelSource("tiny-model", "2.0", "x"), tmp_path)
    assert error.code == "wheel_not_found"
    assert "tiny-model==2.0" in error.message


def test_pip_tells_how_far_it_is(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not wheel._tells_progress():
        pytest.skip("an older pip, which tells no program")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("tiny_model/large.bin", os.urandom(700_000))
    told = Told()
    with web() as site:
        link = site.put(f"/{file.name}", Page(file.read_bytes()))
        listing = f'<a href="{link}">{file.name}</a>'.encode()
        site.put("/tiny-model/", Page(listing, headers={"Content-Type": "text/html"}))
        monkeypatch.setenv("PIP_INDEX_URL", site.url)
        fetch(NET, tmp_path / "into", place=tmp_path, means=Means(progress=told))
    assert told.begun == [("tiny-model==1.0", file.stat().st_size, 0)]
    assert told.reached[-1] == file.stat().st_size
    assert told.ends == 1


@pytest.mark.usefixtures("index")
def test_an_index_that_does_not_answer_is_told_from_one_that_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    error = refused(WheelSource("other-model", "1.0", "x/net.onnx"), tmp_path)
    assert error.code == "package_index_unreachable"
    assert "place it in /models/it" in error.remedy
    assert "PIP_INDEX_URL" in error.remedy


@pytest.mark.usefixtures("index")
def test_a_python_without_pip_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = [sys.executable, "-S", "-E", "-m", "pip"]  # without site-packages there is no pip
    monkeypatch.setattr("duologue.engines.models.wheel.PIP", bare)
    assert refused(NET, tmp_path).code == "pip_missing"


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("silero-vad", "silero_vad.onnx", 2_327_524),
        ("smart-turn", "smart-turn-v3.2-cpu.onnx", 8_679_182),
    ],
)
def test_a_known_file_comes_out_of_the_published_wheel(
    name: str, file: str, size: int, tmp_path: Path
) -> None:
    entry, files = fetched(parse(name), tmp_path)
    assert entry == file
    assert len(files[entry]) == size


# --- the hub ---
REPO = HubSource("acme/whisper", files=("model.bin", "vocabulary.*"))


def test_without_the_hubs_client_the_remedy_is_to_install_it_or_place_files_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    error = refused(REPO, tmp_path)
    assert error.code == "hub_client_missing"
    assert "pip install 'duologue[hub]'" in error.remedy
    assert "acme/whisper" in error.remedy
    assert "/models/it" in error.remedy


FILES = {"model.bin": b"weights" * 1_000, "vocabulary.json": b"[]", "README.md": b"hello"}
COMMIT = "c" * 40


class _Hub(BaseHTTPRequestHandler):
    """As much of a hub as its client asks for: one repository with three files."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        status, headers, body = self._route(self.path.partition("?")[0])
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _route(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/api/models/acme/closed"):
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        if not path.startswith(("/api/models/acme/", "/acme/whisper", "/acme/lying")):
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if "acme/other" in path:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if "nosuch" in path:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if path.startswith("/api/models/") and "/tree/" not in path:
            siblings = [self._sibling(name, body) for name, body in FILES.items()]
            if "lying" in path:
                siblings[0]["lfs"]["sha256"] = "0" * 64
            return self._json({"id": "acme/whisper", "sha": COMMIT, "siblings": siblings})
        if "/tree/" in path:
            entries = FILES.items()
            return self._json(
                [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in entries]
            )
        body = FILES[path.rpartition("/")[2]]
        return 200, {"ETag": f'"{sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body

    @staticmethod
    def _sibling(name: str, body: bytes) -> dict[str, Any]:
        lfs = {"size": len(body), "sha256": sha256(body).hexdigest(), "pointerSize": 130}
        return {"rfilename": name, "size": len(body), **({"lfs": lfs} if ".bin" in name else {})}

    @staticmethod
    def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub."""
    pytest.importorskip("huggingface_hub")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


FETCH = """
import json, sys
from pathlib import Path
from duologue.core.errors import DuologueError
from duologue.engines.models.fetch import fetch
from duologue.engines.models.forms import HubSource
from duologue.engines.models.means import Means
from duologue.engines.models.progress import Line
source = HubSource(sys.argv[2], sys.argv[3], tuple(sys.argv[4:]))
means = Means(progress=Line(sys.stdout, is_tty=True, columns=70))
try:
    got = fetch(source, Path(sys.argv[1]), place=Path("/models/it"), means=means)
except DuologueError as error:
    sys.exit(f"{error.code}: {error}")
print(got.revision)
"""


def fetched_from(hub: str, source: HubSource, folder: Path) -> tuple[str, str]:
    """In a process of its own, for the client reads where its hub is once, at its import."""
    command = [sys.executable, "-c", FETCH, str(folder / "into"), source.repo, source.revision]
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [*command, *source.files], env=env, capture_output=True, text=True, check=False
    )
    return done.stdout, "" if done.returncode == 0 else done.stderr.splitlines()[-1]


@pytest.mark.full
def test_a_repository_is_fetched_with_the_wanted_files_only(hub: str, tmp_path: Path) -> None:
    said, error = fetched_from(hub, REPO, tmp_path)
    assert error == ""
    found = {path.name: path.read_bytes() for path in (tmp_path / "into").iterdir()}
    assert found == {name: FILES[name] for name in ("model.bin", "vocabulary.json")}
    assert said.splitlines()[-1] == COMMIT
    assert "100 %" in said


@pytest.mark.full
def test_what_lies_there_of_an_earlier_attempt_is_gone_on_with_and_checked(
    hub: str, tmp_path: Path
) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "vocabulary.json").write_bytes(FILES["vocabulary.json"])
    (tmp_path / "into" / "model.bin").write_bytes(b"somebody else's")
    _, error = fetched_from(hub, REPO, tmp_path)
    assert error == ""
    assert (tmp_path / "into" / "model.bin").read_bytes() == FILES["model.bin"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("source", "code"),
    [
        (HubSource("acme/other"), "hub_repo_unknown"),
        (HubSource("acme/closed"), "hub_repo_gated"),
        (HubSource("acme/whisper", "nosuch"), "hub_revision_unknown"),
        (HubSource("acme/whisper", files=("nosuch.bin",)), "hub_files_missing"),
        (HubSource("acme/lying", files=("*.bin",)), "model_hash_mismatch"),
    ],
)
def test_what_the_hub_does_not_give_is_told_apart(
    hub: str, tmp_path: Path, source: HubSource, code: str
) -> None:
    assert fetched_from(hub, source, tmp_path)[1].startswith(f"{code}: ")


@pytest.mark.full
def test_a_hub_that_does_not_answer_leaves_the_way_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "into").mkdir()  # the client would take a folder that exists for the model
    said = fetched_from(NOWHERE, REPO, tmp_path)[1]
    assert said.startswith("hub_unreachable: acme/whisper cannot be fetched")
    assert "place its files (model.bin, vocabulary.*) in /models/it" in said
