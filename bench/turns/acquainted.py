"""The same recordings again, those of a speaker in one session: what is learned of how somebody pauses.

In the headline every recording is a session's first turn, and nobody is known. Here a speaker with at least
`FEWEST` recordings says them one after another, each after the answer to the last was heard. "Speakers" whose names
the manifest does not give (`*_anon`) are many people at one microphone, as before a kitchen's.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.turns.clients import Client
from bench.turns.figures import Figures, of_whole
from bench.turns.policies import Manner
from bench.turns.recordings import Recording
from bench.turns.reference import EARLY_MS, Pcm
from bench.turns.whole import LEAD_MS, Outcome, hush, right
from bench.turns.world import FRAME_MS, Conversation, options
from duologue.core.audio import ms_to_samples, samples_to_ms
from duologue.core.notices import Committed, SpeechBegan
from duologue.session.world import World

FEWEST, MOST = 5, 24
"""Recordings of one session."""

REST_MS = 10_000
"""After a recording: its end of turn, the whole answer, and a moment."""


def speakers(recordings: Sequence[Recording]) -> Mapping[str, list[Recording]]:
    """Those who say enough, with what they say, in the manifest's order."""
    found: dict[str, list[Recording]] = {}
    for recording in recordings:
        found.setdefault(recording.speaker, []).append(recording)
    return {name: mine[:MOST] for name, mine in found.items() if len(mine) >= FEWEST}


class Evening:
    """A microphone before which recordings are played one after another."""

    def __init__(self, sounds: Sequence[Pcm]) -> None:
        lead, rest = hush(ms_to_samples(LEAD_MS)), hush(ms_to_samples(REST_MS))
        parts: list[Pcm] = []
        self.begins_ms: list[int] = []
        length = 0
        for pcm in sounds:
            odd = -(len(lead) + len(pcm) + len(rest)) % ms_to_samples(FRAME_MS)
            self.begins_ms.append(samples_to_ms(length))
            parts += [lead, pcm, rest, np.zeros(odd, np.int16)]
            length += len(lead) + len(pcm) + len(rest) + odd
        self._pcm = np.concatenate(parts)
        self.ends_ms = samples_to_ms(length)

    def frame(self, at_ms: int) -> Pcm | None:
        at, size = ms_to_samples(at_ms), ms_to_samples(FRAME_MS)
        return self._pcm[at : at + size] if at + size <= len(self._pcm) else None


async def hear(
    surroundings: World, manner: Manner, recordings: Sequence[Recording]
) -> list[Outcome]:
    """All of a speaker's, in one session; of what is lost, only the reference tells."""
    evening = Evening([recording.pcm() for recording in recordings])
    talk = Conversation(Client)
    name = f"evening with {recordings[0].speaker}"
    await talk.hold(surroundings, options(manner.policy), evening, name)
    client, outcomes = talk.client, []
    ends = [*evening.begins_ms[1:], evening.ends_ms]
    for recording, begin, end in zip(recordings, evening.begins_ms, ends, strict=True):

        def within(times: Sequence[float], begin: int = begin, end: int = end) -> tuple[float, ...]:
            return tuple(at - begin for at in times if begin <= at < end)

        found = right(recording)
        length_ms = LEAD_MS + samples_to_ms(len(recording.pcm()))
        outcomes.append(
            Outcome(
                recording.file,
                recording.kind,
                found,
                within([stretch.start_ms for stretch in client.speaker.stretches]),
                within([told.at_ms for told in client.of(Committed)]),
                within([told.at_ms for told in client.of(SpeechBegan)]),
                length_ms,
                found.end_ms - EARLY_MS if found is not None else 0,
            )
        )
    return outcomes


def figures(alone: Sequence[Outcome], together: Sequence[Outcome]) -> Figures:
    """The same recordings as first turns of their own, and in one session a speaker."""
    files = {one.file for one in together}
    mine = [one for one in alone if one.file in files]
    return {"each_alone": of_whole(mine), "one_session": of_whole(together)}


def lines(report: Mapping[str, Figures]) -> list[str]:
    """For a person: kinds in which somebody says enough."""
    told = []
    for policy, found in report.items():
        pair = found.get("acquainted")
        if not pair:
            continue
        for kind, alone in {"all": pair["each_alone"], **pair["each_alone"]["by_kind"]}.items():
            one = pair["one_session"] if kind == "all" else pair["one_session"]["by_kind"][kind]
            told.append(
                f"{policy:<10} {kind:<12} {alone['recordings']:>4}"
                f" {_told(alone):>16} {_told(one):>16}"
            )
    head = f"{'policy':<10} {'kind':<12} {'N':>4} {'each alone':>16} {'one session':>16}"
    about = "Those of a speaker with several recordings: false cut-offs / median delay in ms"
    return [about, head, *told] if told else []


def _told(found: Figures) -> str:
    return f"{found['false_cutoffs']} / {found['end_of_turn_delay_p50_ms']}"
