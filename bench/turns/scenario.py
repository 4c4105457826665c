"""Scenario files: who says what when, what is around them, and what must happen.

    - name: pause of {ms} ms
      group: pause
      for: {ms: [400, 900], index: [0, 3]}       # one scenario for each combination; or a list of mappings
      user:
        - say: {kind: intent, index: "{index}", pauses: [{at: 0.5, ms: "{ms}"}]}
          at_ms: 300
      expect: {not_cut: true, answered_within_ms: 1500}

A recording is named by its kind and a number, counted round; where a folder has no such kind, any speech stands in.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

FOLDER = Path(__file__).resolve().parent.parent / "scenarios"


class ScenarioError(ValueError):
    """A scenario file says something that has no meaning."""


@dataclass(frozen=True)
class Pause:
    """A pause put into speech, near this share of it."""

    at: float
    ms: int


@dataclass(frozen=True)
class Saying:
    """A sound of the user's: one of `kind` (a recording), `text` (by an embedded voice), `cough` or `hum`.

    Attributes:
        text: pieces with `gap_ms` of silence between them.
        voice: which of the machine's voices.
        bursts: of the cough.
        shortest_s, longest_s: of the recording that is picked; 0 for any.
    """

    kind: str = ""
    index: int = 0
    shortest_s: float = 0.0
    longest_s: float = 0.0
    pauses: tuple[Pause, ...] = ()
    text: tuple[str, ...] = ()
    gap_ms: int = 0
    voice: int = 0
    cough: int | None = None
    hum: int | None = None
    bursts: int = 2


@dataclass(frozen=True)
class Cue:
    """When the user makes a sound, by one of: `at_ms` since the beginning; `after_reply_ms` since the answer became
    audible, `before_reply_end_ms`; `after_commit_ms` since a turn was taken to be over; `after_previous_ms` since the
    user's last sound ended. Of answers and commits, the first since the user's last sound began counts.

    Attributes:
        is_turn: it wants an answer; false for coughs and "mhm".
    """

    say: Saying
    is_turn: bool = True
    at_ms: int | None = None
    after_reply_ms: int | None = None
    before_reply_end_ms: int | None = None
    after_commit_ms: int | None = None
    after_previous_ms: int | None = None


@dataclass(frozen=True)
class Noise:
    """What is around, so much below the user's speech: recordings of kind noise, "white", "pink", or "babble"."""

    source: str = "noise"
    index: int = 0
    snr_db: float = 20.0
    voices: int = 4


@dataclass(frozen=True)
class Echo:
    """What the loudspeaker plays comes back: so much softer and later, through a room (a recording's number)."""

    gain_db: float
    delay_ms: int = 0
    room: int | None = None


@dataclass(frozen=True)
class Expect:
    """What must happen; what is None or false is not looked at.

    Attributes:
        turns: turns committed, exactly.
        answers: answers that became audible, exactly.
        answered_within_ms: from the end of the user's last turn to the first sound of its answer.
        not_cut: no answer begins while a turn of the user's is not at its end.
        interrupts: the last cue stops the answer that it is spoken over.
        silent_within_ms: and it is silent so long after the cue's speech began.
        not_interrupted: the answer is not stopped.
        resumes_within_ms: its sound is heard again so long after the cue ended (or was never held).
        no_answer: nothing is answered at all.
        no_self_trigger: nobody is taken to speak while only the loudspeaker does.
    """

    turns: int | None = None
    answers: int | None = None
    answered_within_ms: int | None = None
    not_cut: bool = False
    interrupts: bool = False
    silent_within_ms: int | None = None
    not_interrupted: bool = False
    resumes_within_ms: int | None = None
    no_answer: bool = False
    no_self_trigger: bool = False


@dataclass(frozen=True)
class Scenario:
    """One conversation.

    Attributes:
        client: one of `clients.CLASSES`.
        llm_ms: until the language model's first word, where something is to happen before it.
        tail_ms: how long it is listened for after the last sound.
        noise_only_ms: for conversations in which nobody speaks: how long.
    """

    name: str
    group: str
    client: str = "stock"
    user: tuple[Cue, ...] = ()
    noise: Noise | None = None
    echo: Echo | None = None
    llm_ms: float = 0.0
    tail_ms: int = 4_000
    noise_only_ms: int = 0
    expect: Expect = field(default_factory=Expect)


def load(pattern: str = "*", folder: Path = FOLDER) -> list[Scenario]:
    """All scenarios of the files whose name matches, in order.

    Raises:
        ScenarioError: a file says something that has no meaning, or a name comes twice.
    """
    found: list[Scenario] = []
    for path in sorted(folder.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or ():
            every = _expanded(entry, path.name)
            found += [one for one in every if _is_meant(one, path, pattern)]
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ScenarioError(f"these scenarios come twice: {', '.join(sorted(twice))}")
    return found


def _is_meant(one: Scenario, path: Path, pattern: str) -> bool:
    return any(fnmatch(text, pattern) for text in (path.stem, one.name, one.group))


def _expanded(entry: Mapping[str, Any], where: str) -> Iterator[Scenario]:
    plan = {key: value for key, value in entry.items() if key != "for"}
    for values in _combinations(entry.get("for", {})):
        try:
            yield _scenario(_filled(plan, values))
        except (TypeError, KeyError) as error:
            raise ScenarioError(f"{where}: '{entry.get('name')}': {error}") from error


def _combinations(spread: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(spread, list):
        for one in spread:
            yield from _combinations(one)
        return
    lists = [value if isinstance(value, list) else [value] for value in spread.values()]
    for values in itertools.product(*lists):
        yield dict(zip(spread, values, strict=True))


def _filled(plan: Any, values: Mapping[str, Any]) -> Any:
    """Every {name} replaced; where nothing else stands beside it, by the value itself."""
    if isinstance(plan, dict):
        return {key: _filled(value, values) for key, value in plan.items()}
    if isinstance(plan, list):
        return [_filled(value, values) for value in plan]
    if isinstance(plan, str) and "{" in plan:
        alone = plan.strip("{}")
        return values[alone] if plan == f"{{{alone}}}" else plan.format(**values)
    return plan


def _scenario(plan: dict[str, Any]) -> Scenario:
    cues = tuple(_cue(cue) for cue in plan.pop("user", ()))
    noise, echo = plan.pop("noise", None), plan.pop("echo", None)
    return _made(
        Scenario,
        plan,
        user=cues,
        noise=_made(Noise, noise) if noise else None,
        echo=_made(Echo, echo) if echo else None,
        expect=_made(Expect, plan.pop("expect", {})),
    )


def _cue(plan: dict[str, Any]) -> Cue:
    say = dict(plan["say"])
    text = say.pop("text", ())
    pauses = tuple(_made(Pause, pause) for pause in say.pop("pauses", ()))
    pieces = (text,) if isinstance(text, str) else tuple(text)
    saying = _made(Saying, say, pauses=pauses, text=pieces)
    when = {key: value for key, value in plan.items() if key != "say"}
    when.setdefault("is_turn", saying.cough is None and saying.hum is None)
    return _made(Cue, when, say=saying)


def _made(kind: Callable[..., T], plan: Mapping[str, Any], **more: Any) -> T:
    return kind(**{**plan, **more})


def groups(scenarios: Sequence[Scenario]) -> dict[str, int]:
    """How many there are of each."""
    found: dict[str, int] = {}
    for one in scenarios:
        found[one.group] = found.get(one.group, 0) + 1
    return found
