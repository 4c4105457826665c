import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import EngineUnavailable
from duologue.engines import registry


def test_engines_are_found_by_name_with_their_argument() -> None:
    spec, argument = registry.find("fake-stt:stt_ms=3", Role.STT)
    assert (spec.name, spec.role, argument) == ("fake-stt", Role.STT, "stt_ms=3")


def test_an_engine_that_is_not_packaged_is_found_by_its_path() -> None:
    spec, argument = registry.find("tests.engines.probe.SPEC:x", Role.STT)
    assert (spec.name, argument) == ("probe", "x")


@pytest.mark.parametrize("wanted", ["nix", "fake-tts", ""])
def test_an_unknown_engine_is_answered_with_the_known_ones(wanted: str) -> None:
    with pytest.raises(EngineUnavailable) as unknown:
        registry.find(wanted, Role.STT)
    assert unknown.value.code == "engine_unknown"
    assert "fake-stt" in unknown.value.remedy


@pytest.mark.parametrize("wanted", ["no_such_package.SPEC", "tests.engines.probe.NIX"])
def test_an_engine_that_cannot_be_imported_says_so(wanted: str) -> None:
    with pytest.raises(EngineUnavailable) as broken:
        registry.find(wanted, Role.STT)
    assert broken.value.code == "engine_not_importable"


def test_each_role_has_engines() -> None:
    for role in Role:
        assert registry.names(role)
