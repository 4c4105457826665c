"""Loaded once for all tests of this folder: nothing in it changes but which decoders are idle."""

from collections.abc import Iterator
from pathlib import Path

import pocketsphinx
import pytest

from duologue.engines.pocketsphinx.decoders import AssistantSearches
from duologue.engines.pocketsphinx.engine import Pocketsphinx
from duologue.engines.pocketsphinx.pronunciation import Lexicon


@pytest.fixture(scope="package")
def lexicon() -> Lexicon:
    return Lexicon(Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_bytes())


@pytest.fixture(scope="package")
def searches() -> AssistantSearches:
    return AssistantSearches()


@pytest.fixture(scope="package")
def engine() -> Iterator[Pocketsphinx]:
    engine = Pocketsphinx()
    engine.load()
    engine.warm_up()
    yield engine
    engine.close()
