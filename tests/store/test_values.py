"""What becomes of text and JSON on the way in."""

import json

from hypothesis import given
from hypothesis import strategies as st

from duologue.store.values import clean, from_json, to_json

_TEXT = st.text(st.characters(), max_size=20)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
)


@given(st.dictionaries(_TEXT, _JSON, max_size=4))
def test_it_can_always_be_written_and_only_what_is_impossible_is_changed(
    value: dict[str, object],
) -> None:
    text = to_json(value)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")
    raw = json.dumps(value)
    if clean(raw) == raw and "\\u0000" not in raw and "\\ud" not in raw:
        assert from_json(text) == value


def test_text_that_is_possible_is_not_touched() -> None:
    for text in ("", "plain", "你好 👋🏽", "\u202e\ufffd\x7f\x01"):
        assert clean(text) == text
        assert from_json(to_json({text: text})) == {text: text}
