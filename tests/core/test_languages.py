import pytest

from duologue.core.languages import family


@pytest.mark.parametrize(
    ("tag", "language"),
    [("en", "en"), ("en-GB", "en"), ("EN_us", "en"), ("zh-Hans-CN", "zh"), ("", "")],
)
def test_a_language_is_known_by_its_tag_without_the_region(tag: str, language: str) -> None:
    assert family(tag) == language
