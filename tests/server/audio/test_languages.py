"""Languages' names and codes."""

import pytest

from duologue.server.audio.languages import code_of, name_of


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ""),
        ("en", "en"),
        ("en-US", "en-US"),
        ("German", "de"),
        (" french ", "fr"),
        ("yue", "yue"),
    ],
)
def test_what_clients_send(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize("text", ["klingon", "e", "12", "en; drop", "日本"])
def test_what_is_no_language(text: str) -> None:
    assert code_of(text) is None


def test_names_as_openai_shows_them() -> None:
    assert [name_of(code) for code in ("en", "de-AT", "zh_CN", "yue", "")] == [
        "english",
        "german",
        "chinese",
        "yue",
        "unknown",
    ]
