"""Partial transcripts that may be revised -> a beginning that is not: what two in a row agree on.

The policy is known as local agreement (Macháček, Dabre and Bojar, 2023: "Turning Whisper into Real-Time Transcription
System"): a prefix that survives one more look at more sound seldom changes.
"""


class Agreement:
    """The partials of one stretch of sound.

    Attributes:
        agreed: grows only, at its end.
        rest: what the last partial has beyond it; may change.
    """

    def __init__(self) -> None:
        self.agreed = ""
        self.rest = ""
        self._words: list[str] = []
        self._settled = 0  # words

    def push(self, text: str) -> None:
        """The next partial: all of the stretch, as it is understood now."""
        words = text.split()
        common = 0
        for old, new in zip(self._words, words, strict=False):
            if _plain(old) != _plain(new):
                break
            common += 1
        if common > self._settled:
            added = words[self._settled : common]
            self.agreed = " ".join([self.agreed, *added] if self.agreed else added)
            self._settled = common
        self.rest = " ".join(words[self._settled :])
        self._words = words


def _plain(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum())
