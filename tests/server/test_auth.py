import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from duologue.server import auth
from duologue.server.auth import Admission, Denied, Guard, Kind, kind_of
from duologue.server.client_secrets import ClientSecrets, Minted
from duologue.server.keys import KeyBook, KeyFile
from duologue.server.limits import FAILURES_PER_MINUTE, Limits

KEYED = Guard(keys=("sesame", "second"))
OPEN = Guard()
PEER = "192.0.2.1"


class Hand:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def ms(self) -> float:
        return self.now * 1000


class House:
    """A guard with a key file, whose time stands still."""

    def __init__(self, folder: Path, *given: str, **limits: int) -> None:
        self.clock = Hand()
        self.file = KeyFile(folder / "api-keys.json")
        self.secrets = ClientSecrets(self.clock)
        self.key = self.file.add("web")
        self.guard = Guard(
            KeyBook(self.file.path, given),
            limits=Limits(**limits),
            secrets=self.secrets,
            clock_ms=self.clock.ms,
        )

    def admit(self, key: str, kind: Kind = "session", peer: str = PEER) -> Admission | Denied:
        return self.guard.admit({"authorization": f"Bearer {key}"}, peer, kind)

    def enter(self, key: str, kind: Kind = "session") -> Admission:
        admission = self.admit(key, kind)
        assert isinstance(admission, Admission), admission
        return admission

    def refused(self, key: str, kind: Kind = "session", peer: str = PEER) -> tuple[int, str]:
        denied = self.admit(key, kind, peer)
        assert isinstance(denied, Denied)
        return denied.status, denied.code

    def mint(self, session: dict[str, Any] | None = None, lifetime_s: int = 600) -> str:
        asking = self.enter(self.key, "request")
        minted = self.secrets.mint(asking.key, session or {}, lifetime_s)
        assert isinstance(minted, Minted)
        return minted.value


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, "sesame")


def code(guard: Guard, **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    judged = {kind: guard.admit(named, PEER, kind) for kind in ("session", "request")}
    codes = {judge.code if isinstance(judge, Denied) else None for judge in judged.values()}
    assert len(codes) == 1
    return codes.pop()


# --- keys ---
def test_a_key_opens_in_each_of_its_forms() -> None:
    assert code(KEYED, authorization="Bearer sesame") is None
    assert code(KEYED, authorization="bearer second") is None
    offered = "realtime, openai-insecure-api-key.sesame, x"
    assert code(KEYED, sec_websocket_protocol=offered) is None


def test_no_key_and_a_wrong_key_are_told_apart() -> None:
    guard = Guard(keys=("sesame",))
    for headers in ({}, {"authorization": "Basic sesame"}, {"authorization": "Bearer  "}):
        assert code(guard, **headers) == "missing_api_key"
    for given in ("sesam", "sesamee", "SESAME", "ü"):
        assert code(guard, authorization=f"Bearer {given}") == "invalid_api_key"


def test_without_keys_programs_come_in() -> None:
    assert code(OPEN, host="anything.example") is None
    assert code(OPEN, authorization="Bearer whatever") is None


def test_made_and_given_keys_open_by_their_names(house: House) -> None:
    made, given = house.enter(house.key), house.enter("sesame")
    assert (made.name, given.name) == ("web", "env-1")
    assert not made.is_ephemeral
    assert made.session is None
    assert house.refused("dl_nonsense") == (401, "invalid_api_key")


def test_a_revoked_key_ends_what_it_opened(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ended: list[str] = []
    ephemeral = house.mint()
    for name, key in (("own", house.key), ("ephemeral", ephemeral), ("other", "sesame")):
        house.enter(key).on_revoked(lambda name=name: ended.append(name))  # type: ignore[misc]
    left = house.enter(house.key)
    left.on_revoked(lambda: ended.append("left"))
    left.leave()
    house.file.revoke("web")
    house.guard.refresh()
    house.guard.refresh()
    assert sorted(ended) == ["ephemeral", "own"]
    assert house.refused(house.key) == (401, "invalid_api_key")
    assert house.refused(ephemeral) == (401, "invalid_api_key")
    assert "'web' is revoked; 2 sessions end" in caplog.text
    assert len(house.secrets) == 0


def test_a_revocation_that_comes_before_the_connection_is_set_up(house: House) -> None:
    ended: list[bool] = []
    admission = house.enter(house.key)
    house.file.revoke("web")
    house.guard.refresh()
    admission.on_revoked(lambda: ended.append(True))
    assert ended == [True]


def test_a_new_key_of_an_old_name_does_not_wake_the_olds_ephemeral_keys(house: House) -> None:
    ephemeral = house.mint()
    house.file.revoke("web")
    again = house.file.add("web")
    assert house.refused(ephemeral) == (401, "invalid_api_key")
    assert house.enter(again).name == "web"


def test_a_broken_key_file_says_so_and_given_keys_go_on(house: House) -> None:
    ephemeral = house.mint()
    ended: list[bool] = []
    house.enter(house.key).on_revoked(lambda: ended.append(True))
    house.file.path.write_text("{")
    assert house.refused(house.key) == (503, "key_file_invalid")
    assert house.refused(ephemeral) == (503, "key_file_invalid")
    assert house.refused("") == (401, "missing_api_key")
    assert house.enter("sesame").name == "env-1"
    assert not ended


async def test_the_watch_looks_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "WATCH_S", 0)
    ended = asyncio.Event()
    house.enter(house.key).on_revoked(ended.set)
    house.file.revoke("web")
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(house.guard.watch())
        async with asyncio.timeout(5):
            await ended.wait()
        watching.cancel()


def test_no_key_is_ever_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ephemeral = house.mint(lifetime_s=10)
    keys = [house.key, ephemeral, "sesame", "dl_wrong-one", "ek_wrong-one"]
    for _ in range(FAILURES_PER_MINUTE):
        for key in keys:
            house.admit(key)
            house.admit(key, "request")
    house.file.revoke("web")
    house.admit(house.key)
    house.clock.now += 10
    house.admit(ephemeral)
    assert "many wrong API keys from 192.0.2.1" in caplog.text
    for key in keys:
        bare = key.removeprefix("dl_").removeprefix("ek_")
        assert bare not in caplog.text
        for answer in (house.admit(key, "request"), house.admit(key, peer="192.0.2.7")):
            assert bare not in getattr(answer, "message", "")


# --- ephemeral keys ---
def test_an_ephemeral_key_opens_sessions_with_its_settings_and_nothing_else(house: House) -> None:
    key = house.mint({"instructions": "Be brief."})
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{key}"},
    ):
        admission = house.guard.admit(headers, PEER, "session")
        assert isinstance(admission, Admission)
        assert (admission.name, admission.is_ephemeral) == ("web", True)
        assert admission.session == {"instructions": "Be brief."}
    assert house.refused(key, "request") == (403, "ephemeral_key_not_allowed")
    house.clock.now += 600
    assert house.refused(key) == (401, "expired_api_key")
    assert house.refused("ek_unknown") == (401, "invalid_api_key")


def test_even_without_settings_it_is_an_ephemeral_key(house: House) -> None:
    assert house.refused(house.mint({}), "request") == (403, "ephemeral_key_not_allowed")


def test_what_starts_a_session() -> None:
    assert kind_of("POST", "/v1/realtime/calls") == "session"
    assert kind_of("POST", "/v1/realtime") == "session"
    assert kind_of("POST", "/api/v1/audio-streaming/sessions") == "stream"
    for method, path in (
        ("GET", "/api/v1/audio-streaming/sessions"),
        ("POST", "/api/v1/audio-streaming/sessions/x/audio"),
        ("GET", "/v1/realtime/calls"),
        ("POST", "/v1/realtime/calls/x/hangup"),
        ("POST", "/v1/realtime/client_secrets"),
        ("POST", "/v1/realtime/sessions"),
        ("POST", "/v1/audio/speech"),
    ):
        assert kind_of(method, path) == "request"


def test_a_server_that_asks_for_no_key_makes_ephemeral_ones_too(tmp_path: Path) -> None:
    file, clock = KeyFile(tmp_path / "api-keys.json"), Hand()
    guard = Guard(KeyBook(file.path), secrets=ClientSecrets(clock))
    minted = guard.secrets.mint("", {"instructions": "Be brief."}, 600)
    assert isinstance(minted, Minted)
    headers = {"authorization": f"Bearer {minted.value}"}
    admission = guard.admit(headers, PEER, "session")
    assert isinstance(admission, Admission)
    assert admission.session == {"instructions": "Be brief."}
    assert code(guard, authorization="Bearer ek_unknown") == "invalid_api_key"
    file.add("web")  # from here on a key is needed
    assert code(guard, **headers) == "invalid_api_key"
    assert code(guard) == "missing_api_key"


def test_a_visit_is_no_session_and_ends_with_its_key(tmp_path: Path) -> None:
    house = House(tmp_path, max_sessions=1)
    stream = house.enter(house.key, "stream")
    ended = []
    visits = [house.enter(house.key, "visit") for _ in range(2)]
    for visit in visits:
        visit.on_revoked(lambda: ended.append(1))
    visits.pop().leave()
    assert house.refused(house.key, "stream") == (429, "session_limit_reached")
    stream.leave()
    house.enter(house.key, "stream")
    assert house.refused(house.mint({}), "visit") == (403, "ephemeral_key_not_allowed")
    house.file.revoke("web")
    house.guard.refresh()
    assert ended == [1]


# --- limits ---
def test_the_servers_limits_hold_for_keys_without_their_own(tmp_path: Path) -> None:
    house = House(tmp_path, max_sessions=1, per_minute=3)
    free = house.file.add("free", max_sessions=0, per_minute=0)
    tight = house.file.add("tight", per_minute=1)
    first = house.enter(house.key)
    denied = house.admit(house.key)
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code, denied.retry_after_s) == (429, "session_limit_reached", 10)
    house.enter(house.key, "request")
    first.leave()
    house.enter(house.key)
    denied = house.admit(house.key, "request")
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code, denied.retry_after_s) == (429, "rate_limit_exceeded", 60)
    for _ in range(10):
        assert house.enter(free).rate_limits() == []
    house.enter(tight)
    assert house.refused(tight, "request") == (429, "rate_limit_exceeded")
    house.clock.now += 60
    house.enter(house.key, "request")


def test_who_leaves_twice_gives_back_one_place(tmp_path: Path) -> None:
    house = House(tmp_path, max_sessions=1)
    first = house.enter(house.key)
    first.leave()
    first.leave()
    house.enter(house.key)
    assert house.refused(house.key) == (429, "session_limit_reached")


def test_ephemeral_keys_use_up_their_parents_limits(tmp_path: Path) -> None:
    house = House(tmp_path, max_sessions=2)
    one, two = house.mint(), house.mint()
    house.enter(one)
    house.enter(two)
    assert house.refused(one) == (429, "session_limit_reached")
    assert house.refused(house.key) == (429, "session_limit_reached")


def test_a_visitor_can_be_told_of_its_limit(tmp_path: Path) -> None:
    house = House(tmp_path, per_minute=5)
    admission = house.enter(house.key)
    house.clock.now += 20
    house.enter(house.key, "request")
    expected = {"name": "requests", "limit": 5, "remaining": 3, "reset_seconds": 60.0}
    assert admission.rate_limits() == [expected]
    house.clock.now += 50
    assert admission.rate_limits() == [{**expected, "remaining": 4, "reset_seconds": 10.0}]


def test_without_keys_all_callers_share_the_limits() -> None:
    guard = Guard(limits=Limits(per_minute=1))
    assert isinstance(guard.admit({}, PEER, "request"), Admission)
    assert isinstance(guard.admit({}, "192.0.2.2", "request"), Denied)


def test_nobody_is_remembered_who_left_for_good(house: House) -> None:
    staying = house.enter(house.key)
    house.enter(house.key).leave()
    house.file.revoke("web")
    house.guard.refresh()
    assert set(house.guard._accounts) == {"web"}
    staying.leave()
    assert not house.guard._accounts
    assert not house.guard._here
    house.enter(house.file.add("web")).leave()
    house.file.revoke("web")
    house.guard.refresh()
    assert not house.guard._accounts


# --- guesses ---
def test_guesses_are_stopped_and_made_keys_are_not(house: House) -> None:
    ephemeral = house.mint()
    for number in range(FAILURES_PER_MINUTE):
        wrong = f"ek_{number}" if number % 2 else f"guess{number}"
        assert house.refused(wrong) == (401, "invalid_api_key")
    denied = house.admit("guess")
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code, denied.retry_after_s) == (429, "rate_limit_exceeded", 60)
    # a lucky guess at the operator's own key is not even looked at; what cannot be guessed opens
    assert house.refused("sesame") == (429, "rate_limit_exceeded")
    house.enter(house.key)
    house.enter(ephemeral)
    assert house.refused("") == (401, "missing_api_key")
    assert isinstance(house.admit("sesame", peer="192.0.2.2"), Admission)
    house.clock.now += denied.retry_after_s or 0
    house.enter("sesame")


def test_neither_a_missing_nor_an_expired_key_is_a_guess(house: House) -> None:
    ephemeral = house.mint(lifetime_s=10)
    house.clock.now += 10
    for _ in range(FAILURES_PER_MINUTE + 1):
        house.refused("")
        house.refused(ephemeral)
    house.enter("sesame")


# --- web pages ---
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
        ("localhost:8000", "http://localhost:8000.evil.example", "origin_not_allowed"),
        ("localhost:8000", "http://localhost:8000@evil.example", "origin_not_allowed"),
        ("localhost", "file://", "origin_not_allowed"),
        ("", "null", "origin_not_allowed"),
        ("", "file:///x", "origin_not_allowed"),
        ("[", "http://[", "origin_not_allowed"),
        # a page that made its own name point to this machine
        ("evil.example:8000", "http://evil.example:8000", "host_not_allowed"),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", "host_not_allowed"),
        ("local.", "http://local.", "host_not_allowed"),
    ],
)
def test_strangers_pages_do_not(host: str, origin: str, expected: str) -> None:
    assert code(OPEN, host=host, origin=origin) == expected


def test_origins_can_be_allowed() -> None:
    named = Guard(origins=("https://example.org",))
    assert code(named, host="localhost", origin="https://example.org") is None
    for other in ("https://example.com", "http://example.org", "https://example.org.evil.example"):
        assert code(named, host="localhost", origin=other) == "origin_not_allowed"
    assert code(Guard(origins=("*",)), host="x.example", origin="https://y.example") is None


def test_with_a_key_a_public_name_is_no_matter() -> None:
    page = {"host": "talk.example.org", "origin": "https://talk.example.org"}
    assert code(KEYED, authorization="Bearer sesame", **page) is None
    assert code(KEYED, **page) == "missing_api_key"


def test_a_foreign_page_needs_to_be_allowed_even_with_an_ephemeral_key(house: House) -> None:
    headers = {
        "authorization": f"Bearer {house.mint()}",
        "host": "localhost",
        "origin": "https://example.org",
    }
    denied = house.guard.admit(headers, PEER, "session")
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code) == (403, "origin_not_allowed")
    assert not house.guard._here


def test_a_session_that_is_refused_takes_no_place(tmp_path: Path) -> None:
    house = House(tmp_path, max_sessions=1)
    for key in ("dl_wrong", "ek_wrong", ""):
        house.refused(key)
    house.enter(house.key)
