"""What ways to run CSM are compared by: a few frames whose codes are given, and the scores that the model had."""

from typing import Any

from duologue.engines.csm.model import Loaded
from duologue.engines.csm.sampling import Manner
from duologue.engines.csm.speech import Speech

TEXT = "Good morning."
FRAMES = 3


class _Trial(Speech):
    """A speech whose codes are always the same, so that the scores of two ways can be compared one by one."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded, Manner(max_frames=FRAMES), "0")
        self.scores: list[Any] = []

    def _pick(self, scores: Any) -> Any:
        codes = self._loaded.codes
        self.scores.append(scores[0, :codes])
        code = 1 + (len(self.scores) * 7) % (codes - 1)  # never the end
        return self._torch.full((1, 1), code, device=scores.device)


def tried(loaded: Loaded) -> Any:
    """Speak a little, sound and all: the scores of its codes, [codes, size of a codebook], on the CPU."""
    trial = _Trial(loaded)
    trial.begin(TEXT)
    trial.chunk(FRAMES, lambda: True)
    return loaded.torch.stack(trial.scores).float().cpu()
