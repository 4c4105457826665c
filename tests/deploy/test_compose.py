"""The Compose files, without Docker: what they may say, what they promise, and that they agree with the rest."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from duologue import settings
from duologue.cli import engine_server, serve
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory import recipe
from duologue.memory.goals import Goal
from duologue.memory.machine import Machine
from duologue.memory.plan import plan
from duologue.settings import Settings
from tests.deploy import dockerfiles
from tests.deploy.composed import ROOT, Missing, filled, read, stack, variables
from tests.deploy.test_composed import STACKS

FILES = sorted(ROOT.glob("docker-compose*.yml"))
AUTOCONNECT = "docker-compose.autoconnect.yml"
ENGINES = {"stt", "tts", "llm"}
TOKEN = {"DUOLOGUE_ENGINE_TOKEN": "secret", "LLAMA_IMAGE": "llama.cpp:server-b9603"}


def put_together(*names: str, **env: str) -> dict[str, Any]:
    services: dict[str, Any] = stack([ROOT / name for name in names], {**TOKEN, **env})["services"]
    return services


def is_ours(service: Mapping[str, Any]) -> bool:
    return "build" in service


def judged(whole: dict[str, Any]) -> PyCompose:
    """As `compose-spec` takes it, which has no word for this machine's address in `extra_hosts`."""
    return PyCompose.from_yaml(yaml.safe_dump(whole).replace(":host-gateway", ":127.0.0.1"))


every_stack = pytest.mark.parametrize("names", STACKS, ids=" + ".join)


# --- form ---
@every_stack
def test_a_stack_is_what_compose_takes(names: tuple[str, ...]) -> None:
    whole = stack([ROOT / name for name in names], TOKEN)
    taken = judged(whole)
    assert set(taken.service_names()) == set(whole["services"])
    for service in whole["services"].values():
        assert set(service.get("networks", ())) <= {"default", *whole.get("networks", {})}
        named = [line.partition(":")[0] for line in service["volumes"]]
        assert set(named) - set(whole["volumes"]) <= {"./deploy/devices.example.json"}
        assert ("image" in service) != ("build" in service)


@pytest.mark.parametrize(
    "line", ["helthcheck: {}", "mem_limit: lots", "ports: ['80:x']", "restart: sometimes"]
)
def test_what_compose_does_not_take_is_found(line: str) -> None:
    with pytest.raises(ValueError, match="services"):
        PyCompose.from_yaml(f"services:\n  one:\n    image: x\n    {line}\n")


def test_all_files_are_in_a_stack() -> None:
    assert {file.name for file in FILES} - {recipe.COMPOSE_FILE} == {
        name for names in STACKS for name in names
    }


def test_each_file_says_how_it_is_used() -> None:
    for names in STACKS:
        text = (ROOT / names[-1]).read_text(encoding="utf-8")
        how = " ".join(f"-f {name}" for name in names) if len(names) > 1 else ""
        assert f"docker compose {how} up".replace("  ", " ") in text or f"-f {names[-1]} up" in text


# --- what is promised of every service ---
@every_stack
def test_every_service_is_watched_bounded_and_held_in(names: tuple[str, ...]) -> None:
    for name, service in put_together(*names).items():
        check = service["healthcheck"]
        assert check["test"][0] == "CMD", name
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["restart"] == "unless-stopped"
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
        assert service["environment"]["MALLOC_ARENA_MAX"] == "2"
        if is_ours(service):
            assert service["cap_drop"] == ["ALL"]
            assert service["tmpfs"] == ["/tmp"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":(?!latest)[\w.-]*\d", service["image"])


def test_a_server_without_cards_cannot_write_but_to_its_volumes() -> None:
    assert put_together("docker-compose.yml")["duologue"]["read_only"] is True
    assert put_together(AUTOCONNECT)["backend-autoconnect"]["read_only"] is True


@every_stack
def test_builds_are_given_arguments_that_the_dockerfile_knows(names: tuple[str, ...]) -> None:
    for service in filter(is_ours, put_together(*names).values()):
        stage = dockerfiles.read(ROOT / service["build"]["dockerfile"])[0]
        assert set(service["build"]["args"]) <= set(stage.args)
        for extra in service["build"]["args"]["EXTRAS"].split():
            assert (ROOT / "requirements" / f"{extra}.txt").is_file(), extra


# --- who can reach it ---
@every_stack
def test_only_the_server_is_published_and_only_here(names: tuple[str, ...]) -> None:
    for name, service in put_together(*names).items():
        published = ["127.0.0.1:8000:8000"] if name not in ENGINES else []
        assert service.get("ports", []) == published
        if name in ENGINES:
            assert service["networks"] == ["engines"]


def test_nothing_leads_out_of_the_network_of_the_engines() -> None:
    assert read(ROOT / AUTOCONNECT)["networks"]["engines"]["internal"] is True


def _settings(monkeypatch: pytest.MonkeyPatch, home: Path, **env: str) -> Settings:
    """As the server in the container finds them; `home` holds no keys."""
    given = put_together("docker-compose.yml", **env)["duologue"]["environment"]
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.chdir(home)
    for name, value in given.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    return settings.load({})


def test_without_bind_it_starts_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = _settings(monkeypatch, tmp_path)
    assert (found.host, found.no_auth, found.log_level) == ("0.0.0.0", True, "info")


def test_with_bind_it_asks_for_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SetupError) as refused:
        _settings(monkeypatch, tmp_path, BIND="0.0.0.0")
    assert refused.value.code == "no_api_key"
    found = _settings(monkeypatch, tmp_path, BIND="0.0.0.0", DUOLOGUE_API_KEY="sesame")
    assert (found.no_auth, found.keys) == (False, ("sesame",))
    bound = put_together("docker-compose.yml", BIND="0.0.0.0", PORT="80")
    assert bound["duologue"]["ports"] == ["0.0.0.0:80:8000"]


def test_the_log_level_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _settings(monkeypatch, tmp_path, LOG_LEVEL="debug").log_level == "debug"
    services = put_together(AUTOCONNECT, LOG_LEVEL="debug")
    assert services["stt"]["entrypoint"][2].endswith("--log-level debug")
    assert services["llm"]["environment"]["VLLM_LOGGING_LEVEL"] == "debug"


def test_engines_do_not_start_without_a_token() -> None:
    with pytest.raises(Missing, match="DUOLOGUE_ENGINE_TOKEN"):
        stack([ROOT / AUTOCONNECT], {})
    for name, service in put_together(AUTOCONNECT).items():
        own = ["VLLM_API_KEY", "LLAMA_API_KEY"] if name == "llm" else ["DUOLOGUE_ENGINE_TOKEN"]
        assert [service["environment"][key] for key in own] == ["secret"] * len(own)


def test_every_setting_is_passed_on() -> None:
    """But for those that the file decides."""
    given = read(ROOT / "docker-compose.yml")["services"]["duologue"]["environment"]
    passed = {line for line in given if "=" not in line}
    decided = {"host", "port", "no_auth", "log_level", "models_dir"}
    names = set(Settings.__struct_fields__) - decided
    assert passed == {f"DUOLOGUE_{name.upper()}" for name in names}


def test_the_example_of_env_has_every_variable() -> None:
    used: set[str] = set()
    for file in FILES:
        lines = [line.partition(" #")[0] for line in file.read_text("utf-8").splitlines()]
        used |= variables("\n".join(line for line in lines if not line.strip().startswith("#")))
    told = (ROOT / "deploy/env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^#?([A-Z_]+)=", told, re.M))
    passed = {f"DUOLOGUE_{name.upper()}" for name in Settings.__struct_fields__}
    assert used <= named
    assert named <= used | passed


# --- order ---
def test_they_start_one_after_the_other_the_language_model_after_the_others_are_warm() -> None:
    services = put_together(AUTOCONNECT)
    waits = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert {each["condition"] for found in waits.values() for each in found.values()} == {
        "service_healthy"
    }
    assert {name: set(found) for name, found in waits.items()} == {
        "stt": set(),
        "tts": {"stt"},
        "llm": {"stt", "tts"},
        "backend-autoconnect": ENGINES,
    }


# --- commands ---
@every_stack
def test_our_commands_are_parsed_by_our_own_parsers(names: tuple[str, ...]) -> None:
    for name, service in put_together(*names).items():
        if not is_ours(service):
            continue
        word, *args = service["command"]
        if word == "serve":
            assert vars(serve.parser().parse_args(args)) == {}
            continue
        added = re.findall(r"--host \S+|--log-level \S+", service["entrypoint"][2])
        parsed = engine_server.parser().parse_args([*args, *" ".join(added).split()])
        assert (word, parsed.role, parsed.host) == ("engine-server", name, "0.0.0.0")
        placed = Placement.parse(parsed.engine.partition(":")[2])
        assert (placed.device, placed.number) == ("cuda", 0)  # its only card


@every_stack
def test_a_card_for_each_engine(names: tuple[str, ...]) -> None:
    services = put_together(*names)
    cards = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in services.items()
        if "deploy" in service
    }
    assert set(cards) == ENGINES & set(services)
    for devices in cards.values():
        (device,) = devices
        assert device["driver"] == "nvidia"
        assert device["capabilities"] == ["gpu"]
    if "docker-compose.multigpu.yml" in names:
        assert [cards[name][0]["device_ids"] for name in ("stt", "tts", "llm")] == [
            ["0"],
            ["1"],
            ["2"],
        ]


PLANNED = [
    ((AUTOCONNECT,), "8", Goal(is_apart=True)),
    (STACKS[2], "4", Goal(profile="low", is_apart=True)),
    (STACKS[3], "3x8", Goal(sessions=4, is_apart=True)),
]


@pytest.mark.parametrize(("names", "cards", "goal"), PLANNED)
def test_the_files_say_what_the_planner_says(
    names: tuple[str, ...], cards: str, goal: Goal
) -> None:
    planned = json.loads(recipe.devices(plan(Machine.parse(cards), goal)))
    services = put_together(*names)
    for name in ENGINES:
        assert _told(services[name]["command"]) == _told(planned[name]["command"]), name
        is_llama = "llama.cpp" in services[name].get("image", "")
        assert is_llama == planned[name]["engine"].startswith("llama-server:")


def _told(words: list[str]) -> list[str]:
    """With a model's name for its path."""
    return [
        Path(word).stem if word.startswith("/models/") and word.endswith(".gguf") else word
        for word in words
    ]


@pytest.mark.parametrize("cards", ["0", "4", "8", "24", "3x8"])
def test_a_plans_override_fits_the_file(cards: str, tmp_path: Path) -> None:
    planned = plan(Machine.parse(cards), Goal(is_apart=True))
    over = tmp_path / recipe.COMPOSE_FILE
    over.write_text(recipe.compose(planned), encoding="utf-8")
    whole = stack([ROOT / AUTOCONNECT, over], TOKEN)
    judged(whole)
    told = json.loads(recipe.devices(planned))
    assert set(told) <= ENGINES
    for name, service in told.items():
        assert whole["services"][name]["command"] == service["command"]
        assert whole["services"][name]["mem_limit"] == f"{service['memory_mib']}m"
        assert "entrypoint" in whole["services"][name] or name == "llm"


@pytest.mark.parametrize("cards", ["0", "8", "3x8"])
def test_a_plans_override_moves_each_engine_to_its_card(cards: str, tmp_path: Path) -> None:
    planned = plan(Machine.parse(cards), Goal(is_apart=True))
    over = tmp_path / recipe.COMPOSE_FILE
    over.write_text(recipe.compose(planned), encoding="utf-8")
    services = stack([ROOT / AUTOCONNECT, over], TOKEN)["services"]
    for name, told in json.loads(recipe.devices(planned)).items():
        devices = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert [card for device in devices for card in device["device_ids"]] == told["device_ids"]


def test_the_example_of_devices_is_a_plans() -> None:
    told = (ROOT / "deploy/devices.example.json").read_text(encoding="utf-8")
    assert told == recipe.devices(plan(Machine.parse("8"), Goal(is_apart=True)))
    (mount,) = (
        line
        for line in put_together(AUTOCONNECT)["backend-autoconnect"]["volumes"]
        if "json" in line
    )
    source, target, mode = mount.split(":")
    assert (ROOT / source).is_file()
    assert (target, mode) == ("/etc/duologue/devices.json", "ro")


# --- documents ---
def test_the_guide_names_every_file_and_every_variable() -> None:
    guide = (ROOT / "docs/docker.md").read_text(encoding="utf-8")
    for file in FILES:
        assert file.name in guide
    for name in ("BIND", "PORT", "MODELS", "LOG_LEVEL", "STT_ENGINE", "TTS_EXTRAS", "LLM_MODEL"):
        assert name in guide


@pytest.mark.parametrize("page", ["docs/docker.md", "docs/cloud-gpu.md"])
def test_commands_of_the_guides_are_commands(page: str) -> None:
    from duologue.cli import COMMANDS

    text = (ROOT / page).read_text(encoding="utf-8")
    for word in re.findall(r"`?duologue ([a-z-]+)", text):
        assert word in COMMANDS, word
    for name in re.findall(r"-f (\S+\.yml)", text):
        assert (ROOT / name).is_file() or name == recipe.COMPOSE_FILE
    assert filled(text.replace("$(", "("), {})  # no broken variable in it
