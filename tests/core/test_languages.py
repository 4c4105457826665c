"""Languages' tags, names and codes, and who knows which."""

import pytest

from duologue.core.capabilities import Capabilities
from duologue.core.languages import code_of, family, is_lacking, knows, name_of


@pytest.mark.parametrize(
    ("tag", "language"),
    [("en", "en"), ("en-GB", "en"), ("EN_us", "en"), ("zh-Hans-CN", "zh"), ("", "")],
)
def test_a_language_is_known_by_its_tag_without_the_region(tag: str, language: str) -> None:
    assert family(tag) == language


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


ENGLISH, MANY, ANY = (Capabilities(languages=each) for each in (("en-US",), ("en", "zh"), ("*",)))


@pytest.mark.parametrize("tag", ["zh", "zh-Hans-CN", "ZH_tw"])
def test_an_engine_knows_a_language_whatever_its_region(tag: str) -> None:
    assert [knows(each, tag) for each in (ENGLISH, MANY, ANY)] == [False, True, True]
    assert knows(ENGLISH, "en-GB")


def test_nobody_lacks_a_language_that_is_not_named() -> None:
    assert knows(ENGLISH, "")
    assert not is_lacking([ENGLISH], "")


def test_a_chain_lacks_what_none_of_it_knows() -> None:
    assert is_lacking([ENGLISH], "zh")
    assert not is_lacking([ENGLISH, MANY], "zh")
    assert is_lacking([ENGLISH, MANY], "tlh")
    assert not is_lacking([ENGLISH, ANY], "tlh")
    assert not is_lacking([], "zh")
