import pytest

from duologue.engines.voices.espeak_library import ListedVoice
from duologue.engines.voices.espeak_voices import ENGLISH, EspeakVoices

LISTED = (
    ListedVoice("gmw/de", "German", ((5, "de"),)),
    ListedVoice("gmw/en-029", "English (Caribbean)", ((5, "en-029"), (10, "en"))),
    ListedVoice("gmw/en", "English (Great Britain)", ((2, "en-gb"), (2, "en"))),
    ListedVoice("gmw/en-US", "English (America)", ((2, "en-us"), (3, "en"))),
    ListedVoice("sit/cmn", "Chinese (Mandarin)", ((5, "cmn"), (5, "zh-cmn"), (5, "zh"))),
    ListedVoice("sit/yue", "Chinese (Cantonese)", ((5, "yue"), (8, "zh"))),
    ListedVoice("roa/pt", "Portuguese (Portugal)", ((5, "pt"), (5, "pt-pt"))),
    ListedVoice("roa/pt-BR", "Portuguese (Brazil)", ((5, "pt-br"), (6, "pt"))),
)
VOICES = EspeakVoices(LISTED, ["f3", "Annie", "Mr serious"])


@pytest.mark.parametrize(
    ("voice", "language", "chosen"),
    [
        ("", "", ENGLISH),
        ("", "en", ENGLISH),
        ("", "en-US", ENGLISH),
        ("", "en-AU", ENGLISH),
        ("", "en_gb", "gmw/en"),
        ("", "de", "gmw/de"),
        ("", "de-AT", "gmw/de"),
        ("", "pt-BR", "roa/pt-BR"),
        ("", "pt", "roa/pt"),
        ("", "zh", "sit/cmn"),
        ("", "zh-Hant-TW", "sit/cmn"),
        ("", "tlh", ENGLISH),
        ("alloy", "", ENGLISH),
        ("marin", "de", "gmw/de"),
        ("de", "en", "gmw/de"),
        ("German", "", "gmw/de"),
        ("gmw/de", "", "gmw/de"),
        ("en-gb+f3", "", "gmw/en+f3"),
        ("EN-US+annie", "", "gmw/en-US+Annie"),
        ("de+mr serious", "", "gmw/de+Mr serious"),
        ("de+nobody", "", "gmw/de"),
        ("+f3", "de", "gmw/de+f3"),
        ("alloy+f3", "de", "gmw/de+f3"),
        ("../../etc/passwd", "", ENGLISH),
        ("de+../../intonations", "", "gmw/de"),
        ("", "../../etc", ENGLISH),
    ],
)
def test_what_is_meant_by_a_name(voice: str, language: str, chosen: str) -> None:
    assert VOICES.choose(voice, language) == chosen


def test_an_operators_choice_is_the_default_of_english_alone() -> None:
    voices = EspeakVoices(LISTED, ["f3", "Annie"], english="gmw/en+f3")
    assert voices.choose("alloy", "en") == "gmw/en+f3"
    assert voices.choose("+Annie", "") == "gmw/en+Annie"
    assert voices.choose("", "de") == "gmw/de"
