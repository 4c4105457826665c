"""Which key goes to which server."""

from collections.abc import Iterator

import pytest

from duologue.engines.remote import keys


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    keys.provide({})


@pytest.mark.parametrize(
    ("setting", "url", "key"),
    [
        ("sk-1", "https://api.openai.com/v1", "sk-1"),
        ("sk-1", "http://box:8000/v1", ""),
        ("sk-1", "https://api.openai.com.evil.example/v1", ""),
        ("box=k", "http://box:8000/v1", "k"),
        ("box:8000=k", "ws://BOX:8000", "k"),
        ("box:8000=k", "ws://box:8001", ""),
        ("box:8000=a,box=b", "ws://box:8000", "a"),
        ("box:443=k", "https://box/v1", "k"),
        ("box:80=k", "ws://box", "k"),
        ("[::1]:8080=k", "ws://[::1]:8080", "k"),
        ("sk-1, box=k=, other=x", "http://box", "k="),
        ("sk-1, box=k=, other=x", "https://api.openai.com/v1", "sk-1"),
        ("c2VjcmV0==", "https://api.openai.com/v1", "c2VjcmV0=="),
        ("a/b+c=d", "https://api.openai.com/v1", "a/b+c=d"),
        ("", "https://api.openai.com/v1", ""),
        ("box=k", "http://[broken", ""),
    ],
)
def test_a_key_belongs_to_one_server(setting: str, url: str, key: str) -> None:
    keys.provide(keys.read(setting))
    assert keys.key_for(url) == key
