import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.managed_llm.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path)
    yield it
    for responder in it.made:
        responder.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("llm-")]
    assert not left
