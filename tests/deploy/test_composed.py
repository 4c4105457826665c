"""The tests' own reading of Compose files, and Docker Compose's where that is there."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.composed import ROOT, Missing, filled, stack, variables

SET = {"A": "a", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x$A-${A}y", "xa-ay"),
        ("$$A $${A}", "$A ${A}"),
        ("${A:-1}${B:-2}${EMPTY:-3}${EMPTY-4}${B-5}", "a235"),
        ("${A:+r}${B:+r}${EMPTY:+r}|${EMPTY+r}", "r|r"),
        ("${B:-whisper:x@cuda:0/int8}", "whisper:x@cuda:0/int8"),
        ("${B:-${A}}${A:-${B:?no}}!", "aa!"),
        ("${A:?no}", "a"),
        ("$B", ""),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, value: str) -> None:
    assert filled(text, SET) == value


@pytest.mark.parametrize("text", ["${B:?say it}", "${EMPTY:?say it}", "${B?say it}"])
def test_one_that_must_be_set_is_missed(text: str) -> None:
    with pytest.raises(Missing, match="say it"):
        filled(text, SET)


def test_the_variables_of_a_text_are_found() -> None:
    assert variables("$A ${B} ${C:-${D}} $$E $${F}") == {"A", "B", "C", "D"}


def test_one_file_over_another(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(
        "services:\n  one:\n    command: [a]\n    environment: [X=1, Y]\n    tmpfs: [/a]\n"
    )
    (tmp_path / "other.yml").write_text(
        "services:\n  two:\n    extends: {file: base.yml, service: one}\n    environment: {X: 2}\n"
        "    command: [b]\n    tmpfs: [/b]\n"
    )
    (tmp_path / "third.yml").write_text("services:\n  two:\n    tmpfs: !override [/c]\n")
    files = [tmp_path / f"{name}.yml" for name in ("other", "third")]
    assert stack(files[:1], {})["services"]["two"] == {
        "command": ["b"],
        "environment": {"X": 2, "Y": None},
        "tmpfs": ["/a", "/b"],
    }
    assert stack(files, {})["services"]["two"]["tmpfs"] == ["/c"]


def _compose() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    asked = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    return asked.returncode == 0


STACKS = [
    ("docker-compose.yml",),
    ("docker-compose.autoconnect.yml",),
    ("docker-compose.autoconnect.yml", "docker-compose.lowmem.yml"),
    ("docker-compose.autoconnect.yml", "docker-compose.multigpu.yml"),
]


@pytest.mark.full
@pytest.mark.skipif(not _compose(), reason="Docker Compose is not here")
@pytest.mark.parametrize("names", STACKS, ids=" + ".join)
def test_docker_compose_reads_the_files_alike(names: tuple[str, ...]) -> None:
    env = {"DUOLOGUE_ENGINE_TOKEN": "secret", "BIND": "0.0.0.0", "STT_GPU": "3"}
    args = [word for name in names for word in ("-f", name)]
    done = subprocess.run(
        ["docker", "compose", *args, "config", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **env},
    )
    theirs = json.loads(done.stdout)["services"]
    ours = stack([ROOT / name for name in names], env)["services"]
    assert set(ours) == set(theirs)
    for name, service in ours.items():
        other = theirs[name]
        for key in ("image", "init", "read_only", "cap_drop", "security_opt", "tmpfs"):
            assert service.get(key) == other.get(key), (name, key)
        for key in ("command", "entrypoint"):
            words = other.get(key)  # in which Compose escapes what it would fill in
            assert service.get(key) == (words and [word.replace("$$", "$") for word in words])
        assert service["environment"] == other["environment"]
        assert service["healthcheck"]["test"] == other["healthcheck"]["test"]
        resources = other.get("deploy", {}).get("resources", {})
        assert service.get("deploy", {}).get("resources", {}) == resources
        assert set(service.get("depends_on", ())) == set(other.get("depends_on", ()))
        assert len(service["volumes"]) == len(other["volumes"])
