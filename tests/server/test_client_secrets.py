import pytest

from duologue.server import client_secrets
from duologue.server.client_secrets import ClientSecrets, Expired, Minted, Secret
from duologue.server.limits import Full


class Hand:
    now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def store(clock: Hand) -> ClientSecrets:
    return ClientSecrets(clock)


def minted(store: ClientSecrets, parent: str = "p", lifetime_s: int = 600) -> Minted:
    made = store.mint(parent, {"instructions": "Be brief."}, lifetime_s)
    assert isinstance(made, Minted)
    return made


def test_it_carries_its_settings_until_its_time_is_over(store: ClientSecrets, clock: Hand) -> None:
    made = minted(store)
    assert made.value.startswith("ek_")
    assert len(made.value) == len("ek_") + 43
    assert made.expires_at == 1_700_000_600
    clock.now = made.expires_at - 0.001
    for _ in range(3):  # for many sessions
        found = store.find(made.value)
        assert isinstance(found, Secret)
        assert (found.parent, found.session) == ("p", {"instructions": "Be brief."})
    clock.now = made.expires_at
    assert store.find(made.value) == Expired()
    assert len(store) == 0


def test_its_settings_are_the_visitors_own(store: ClientSecrets) -> None:
    made = minted(store)
    found = store.find(made.value)
    assert isinstance(found, Secret)
    found.session["instructions"] = "Shout."
    again = store.find(made.value)
    assert isinstance(again, Secret)
    assert again.session == {"instructions": "Be brief."}


def test_the_secret_itself_is_not_kept(store: ClientSecrets) -> None:
    made = minted(store)
    assert made.value not in repr(vars(store))
    assert store.find(made.value + "x") is None
    assert store.find("ek_") is None


def test_the_parent_takes_them_along(store: ClientSecrets, clock: Hand) -> None:
    mine, others = minted(store, "p", 20), minted(store, "q", 10)
    store.forget("p")
    assert store.find(mine.value) is None
    assert isinstance(store.find(others.value), Secret)
    clock.now += 30
    assert store.find(mine.value) is None  # not even that it has expired
    assert store.find(others.value) == Expired()


def test_a_key_may_have_so_many_and_is_told_when_the_next(
    store: ClientSecrets, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_OF_ONE_KEY", 3)
    first = [minted(store, "p", lifetime_s) for lifetime_s in (30, 10, 20)]
    minted(store, "q", 5)  # another key's room is its own
    full = store.mint("p", {}, 600)
    assert isinstance(full, Full)
    assert (full.code, full.retry_after_s) == ("rate_limit_exceeded", 10)
    clock.now += full.retry_after_s - 1
    assert isinstance(store.mint("p", {}, 600), Full)
    assert all(isinstance(store.find(made.value), Secret) for made in first)  # none had to go
    clock.now += 1
    assert isinstance(store.mint("p", {}, 600), Minted)


def test_all_keys_together_may_have_so_many(
    store: ClientSecrets, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_SECRETS", 2)
    minted(store, "p", 10)
    minted(store, "q", 20)
    full = store.mint("r", {}, 600)
    assert isinstance(full, Full)
    clock.now += full.retry_after_s
    assert isinstance(store.mint("r", {}, 600), Minted)
    store.forget("q")
    assert isinstance(store.mint("r", {}, 600), Minted)


def test_their_settings_together_may_be_so_large(
    store: ClientSecrets, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_BYTES", 100)
    for lifetime_s in (10, 20, 30):
        made = store.mint("p", {"x": "y" * 20}, lifetime_s)  # 28 bytes
        assert isinstance(made, Minted)
    assert isinstance(store.mint("p", {}, 600), Minted)
    full = store.mint("q", {"x": "y" * 62}, 600)  # the first two must go
    assert isinstance(full, Full)
    assert full.retry_after_s == 20
    clock.now += 19.5
    assert isinstance(store.mint("q", {"x": "y" * 62}, 600), Full)
    clock.now += 0.5
    assert isinstance(store.mint("q", {"x": "y" * 62}, 600), Minted)


def test_of_those_that_ran_out_not_all_are_remembered(
    store: ClientSecrets, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_EXPIRED", 2)
    made = [minted(store, "p", 10 + number) for number in range(3)]
    clock.now += 60
    assert [store.find(one.value) for one in made] == [None, Expired(), Expired()]
    assert not store._of
    assert store._bytes == 0
