import pytest

from duologue.server.auth import Guard

KEYED = Guard(keys=("sesame", "second"))
OPEN = Guard()


def code(guard: Guard, **headers: str) -> str | None:
    denied = guard.check({name.replace("_", "-"): value for name, value in headers.items()})
    return denied.code if denied else None


def test_a_key_opens_in_each_of_its_forms() -> None:
    assert code(KEYED, authorization="Bearer sesame") is None
    assert code(KEYED, authorization="bearer second") is None
    offered = "realtime, openai-insecure-api-key.sesame, x"
    assert code(KEYED, sec_websocket_protocol=offered) is None


def test_no_key_and_a_wrong_key_are_told_apart() -> None:
    for headers in ({}, {"authorization": "Basic sesame"}, {"authorization": "Bearer  "}):
        assert code(KEYED, **headers) == "missing_api_key"
    for given in ("sesam", "sesamee", "SESAME", "ü"):
        assert code(KEYED, authorization=f"Bearer {given}") == "invalid_api_key"


def test_without_keys_programs_come_in() -> None:
    assert code(OPEN, host="anything.example") is None


@pytest.mark.parametrize(
    "host",
    ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "kitchen", "pi.local:8000"],
)
def test_our_own_page_comes_in_by_any_local_name(host: str) -> None:
    assert code(OPEN, host=host, origin=f"http://{host}") is None


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:8000", "http://evil.example", "origin_not_allowed"),
        ("localhost:8000", "http://localhost:3000", "origin_not_allowed"),
        ("localhost:8000", "null", "origin_not_allowed"),
        # a page that made its own name point to this machine
        ("evil.example:8000", "http://evil.example:8000", "host_not_allowed"),
    ],
)
def test_strangers_pages_do_not(host: str, origin: str, expected: str) -> None:
    assert code(OPEN, host=host, origin=origin) == expected


def test_origins_can_be_allowed() -> None:
    named = Guard(origins=("https://example.org",))
    assert code(named, host="localhost", origin="https://example.org") is None
    assert code(named, host="localhost", origin="https://example.com") == "origin_not_allowed"
    assert code(Guard(origins=("*",)), host="x.example", origin="https://y.example") is None


def test_with_a_key_a_public_name_is_no_matter() -> None:
    page = {"host": "talk.example.org", "origin": "https://talk.example.org"}
    assert code(KEYED, authorization="Bearer sesame", **page) is None
    assert code(KEYED, **page) == "missing_api_key"
