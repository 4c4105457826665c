from pathlib import Path

import pytest

from duologue import settings
from duologue.cli import serve
from duologue.core.errors import SetupError

NOWHERE = Path("no-such-file.toml")


def test_command_line_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "duologue.toml"
    file.write_text("port = 1\nmax_sessions = 2\nlead_ms = 300\nno_auth = true\n")
    monkeypatch.setenv("DUOLOGUE_PORT", "3")
    monkeypatch.setenv("DUOLOGUE_MAX_SESSIONS", "4")
    loaded = settings.load({"port": 5}, file)
    assert (loaded.port, loaded.max_sessions, loaded.lead_ms) == (5, 4, 300)
    assert loaded.no_auth is True


@pytest.mark.parametrize(
    "text",
    [
        "port = 'x'",
        "nix = 1",
        "lead_ms = 5",
        "engines = 'real'",
        "turns = 'hasty'",
        "max_turn_ms = 10",
        "echo = 'on'",
        "hang_up = 'perhaps'",
        f"filler = '{'x' * 201}'",
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "duologue.toml"
    file.write_text(text)
    with pytest.raises(SetupError) as refused:
        settings.load({}, file)
    unknown = text.startswith("nix")
    assert refused.value.code == ("setting_unknown" if unknown else "setting_invalid")
    assert text.split()[0] in refused.value.message
    assert "duologue.toml" in refused.value.message
    assert refused.value.remedy


def test_a_misspelt_setting_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "duologue.toml"
    file.write_text("prot = 8212")
    with pytest.raises(SetupError) as refused:
        settings.load({}, file)
    assert refused.value.remedy == "Did you mean 'port'?"
    monkeypatch.setenv("DUOLOGUE_STTT", "x")
    settings.load({}, NOWHERE)
    assert "DUOLOGUE_STTT" in caplog.text


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "duologue.toml"
    file.write_text("port =")
    with pytest.raises(SetupError) as refused:
        settings.load({}, file)
    assert refused.value.code == "settings_file_invalid"


def test_other_machines_need_a_key_or_a_word() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "::"):
        with pytest.raises(SetupError) as refused:
            settings.load({"host": host}, NOWHERE)
        assert refused.value.code == "no_api_key"
        assert "--no-auth" in refused.value.remedy
        settings.load({"host": host, "no_auth": True}, NOWHERE)
        settings.load({"host": host, "api_key": "k"}, NOWHERE)
    for host in settings.LOOPBACK:
        settings.load({"host": host}, NOWHERE)


def test_lists_and_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = settings.load({"api_key": "a, b,", "origin": "https://x,https://y"}, NOWHERE)
    assert loaded.keys == ("a", "b")
    assert loaded.origins == ("https://x", "https://y")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert loaded.models_folder == Path("/data/duologue/models")
    assert settings.load({"models_dir": "/m"}, NOWHERE).models_folder == Path("/m")
    monkeypatch.setenv("DUOLOGUE_API_KEY", "k")
    assert settings.variable("API_KEY") == "k"
    assert settings.variable("NIX") == ""


def test_how_sessions_behave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = settings.load({}, NOWHERE)
    assert (plain.turns, plain.max_turn_ms, plain.greeting, plain.filler) == ("", None, "", "")
    assert (plain.hang_up, plain.echo) == (False, "auto")
    file = tmp_path / "duologue.toml"
    file.write_text("turns = 'patient'\nhang_up = true\ngreeting = 'Hello.'\n")
    monkeypatch.setenv("DUOLOGUE_TURNS", "snappy")
    monkeypatch.setenv("DUOLOGUE_MAX_TURN_MS", "30000")
    monkeypatch.setenv("DUOLOGUE_HANG_UP", "false")
    loaded = settings.load({"filler": "Wait."}, file)
    assert (loaded.turns, loaded.max_turn_ms, loaded.hang_up) == ("snappy", 30_000, False)
    assert (loaded.greeting, loaded.filler) == ("Hello.", "Wait.")
    monkeypatch.setenv("DUOLOGUE_TURNS", "")
    assert settings.load({}, file).turns == ""


def test_every_setting_but_a_few_has_an_option() -> None:
    options = {action.dest for action in serve.parser()._actions}
    secrets = {
        "engine_token",
        "audio_api_key",
    }  # a command line is seen by everybody on the machine
    elsewhere = {"model", "models_dir", "offline"}
    assert set(settings.Settings.__struct_fields__) - options == elsewhere | secrets
    assert options - set(settings.Settings.__struct_fields__) == {"help"}
