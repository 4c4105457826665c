"""The Dockerfiles, as far as they can be judged without Docker. Nothing is built here."""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.deploy.composed import ROOT
from tests.deploy.dockerfiles import Stage, read

FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def stages(request: pytest.FixtureRequest) -> list[Stage]:
    return read(request.param)


def sent() -> list[str]:
    """The files of the checkout that a build is given: `.dockerignore`, whose last matching line counts."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if _is_sent(name, rules)]


def _is_sent(name: str, rules: list[str]) -> bool:
    is_out = False
    parts = Path(name).parts
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for rule in rules:
        pattern = rule.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        places = parts if anywhere != pattern else above
        if any(fnmatch.fnmatchcase(place, anywhere) for place in places):
            is_out = not rule.startswith("!")
    return not is_out


def test_there_is_one_for_cpus_and_one_for_cards() -> None:
    assert [file.name for file in FILES] == ["Dockerfile.cpu", "Dockerfile.cuda"]


def test_images_are_pinned_and_the_same_throughout(stages: list[Stage]) -> None:
    build, run = stages
    assert build.name == "build"
    assert build.image == run.image  # a venv is bound to its Python
    assert re.fullmatch(r"[a-z/]+:\d[\w.-]+", run.image)


def test_what_is_copied_is_there_and_is_sent(stages: list[Stage]) -> None:
    build, run = stages
    names = sent()
    copied = [source for line in build.of("COPY") for source in line.split()[:-1]]
    assert copied
    for source in copied:
        assert any(name == source or name.startswith(f"{source.rstrip('/')}/") for name in names)
    assert run.of("COPY") == ["--from=build /venv /venv"]


def test_a_build_is_given_nothing_else() -> None:
    names = sent()
    assert {name.split("/")[0] for name in names} == {
        *("LICENSE", "NOTICE", "README.md", "docker", "hatch_build.py", "pyproject.toml"),
        *("requirements", "src"),
    }
    assert [name for name in names if name.startswith("docker/")] == ["docker/cuda.txt"]
    assert not [name for name in names if ".env" in name or name.endswith((".pyc", ".pem"))]


def test_it_runs_our_command_as_nobody_in_particular(stages: list[Stage]) -> None:
    run = stages[-1]
    assert run.words("ENTRYPOINT") == ["duologue"]
    assert "duologue" in PROJECT["scripts"]
    assert run.words("CMD") == ["serve"]
    user, _, group = run.last("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert [word for word, _ in run.lines].index("USER") > max(
        place for place, (word, _) in enumerate(run.lines) if word in ("RUN", "COPY")
    )
    assert f"--uid {user}" in " ".join(run.of("RUN"))


def test_volumes_are_where_the_server_keeps_things(stages: list[Stage]) -> None:
    run = stages[-1]
    assert {run.env["XDG_DATA_HOME"], run.env["DUOLOGUE_MODELS_DIR"]} == set(run.words("VOLUME"))
    made = next(line for line in run.of("RUN") if "install -d" in line)
    assert all(folder in made for folder in run.words("VOLUME"))


def test_installs_are_pinned_by_hash_but_for_torch(stages: list[Stage]) -> None:
    build = stages[0]
    steps = [part for line in build.of("RUN") for part in re.split(r"&&|;|\bdo\b|\|\|", line)]
    installs = [step.strip() for step in steps if "pip install" in step]
    assert len(installs) >= 4
    loose = [step for step in installs if "--require-hashes" not in step]
    assert [step for step in loose if not re.search(r'"torch==\$TORCH"|--no-deps \.$', step)] == []
    for step in installs:
        if found := re.search(r"-r (\S+)", step):
            file = found[1].strip('"')
            assert "$extra" in file or (ROOT / file).is_file()


def test_extras_that_come_along_have_pins(stages: list[Stage]) -> None:
    extras = stages[0].args["EXTRAS"].split()
    assert extras
    for extra in extras:
        assert extra in PROJECT["optional-dependencies"]
        assert (ROOT / "requirements" / f"{extra}.txt").is_file()


def test_the_cards_onnx_runtime_is_the_servers_version() -> None:
    """It takes the other's place: what was tested with one must hold for the other."""
    found = {}
    for file in ("requirements/server.txt", "docker/cuda.txt"):
        text = (ROOT / file).read_text(encoding="utf-8")
        pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.M))
        found[file] = pins
    server, cuda = found.values()
    assert cuda["onnxruntime-gpu"] == server["onnxruntime"]
    for name in ("flatbuffers", "numpy", "packaging", "protobuf"):
        text = (ROOT / "requirements/server.txt").read_text(encoding="utf-8")
        assert f"{name}=={cuda[name]}" in text


def test_every_pin_for_cards_is_asked_for_or_needed() -> None:
    asked = re.findall(r"^([a-z][\w-]+)", (ROOT / "docker/cuda.in").read_text("utf-8"), re.M)
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "docker/cuda.txt").read_text("utf-8"), re.M)
    assert set(asked) <= set(pinned)
    assert "torch" not in pinned


@pytest.mark.parametrize(
    "text", ["RUN x\nFROM a:1\n", "FROM a:1\nADD x y\n", "FROM a:1\nRUN a \\\n  b\nNIX c\n"]
)
def test_what_is_no_dockerfile_of_ours_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(ValueError, match="Dockerfile"):
        read(tmp_path / "Dockerfile")
