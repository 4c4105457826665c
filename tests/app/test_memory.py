"""Who is watched for memory, and under which name."""

import os

from duologue.app import memory
from duologue.app.parts import Part
from duologue.core.capabilities import Role


class Place:
    def __init__(self, *pids: int, rung: int = 0) -> None:
        self.pids = pids
        self.rung = rung


def part(role: Role, name: str, place: Place | None = None, state: str = "ready") -> Part:
    async def start() -> None:
        pass

    return Part(role, name, "", start, state=state, engine=place)


def test_the_server_counts_once_and_each_process_of_its_own() -> None:
    parts = [
        part(Role.VAD, "silero"),
        part(Role.STT, "pocketsphinx", Place(11, 12)),
        part(Role.TTS, "flite", Place(13)),
        part(Role.TTS, "espeak", Place(14), state="failed"),
    ]
    uses = [(use.name, use.pid, use.card) for use in memory.in_use(parts)]
    assert uses == [
        ("server", os.getpid(), None),
        ("stt:pocketsphinx 1", 11, None),
        ("stt:pocketsphinx 2", 12, None),
        ("tts:flite", 13, None),
    ]


def test_an_engine_on_a_card_is_known_by_it_on_whichever_rung_it_is() -> None:
    name = "whisper:a@cuda:1/float16 > whisper:b@cuda > whisper:c@cpu"
    cards = []
    for rung in range(3):
        uses = memory.in_use([part(Role.STT, name, Place(rung=rung))])
        cards.append([use.card for use in uses[1:]])
    assert cards == [[1], [0], []]


def test_the_cards_are_named_or_why_there_are_none() -> None:
    (line, *_) = memory.cards(None)
    assert line.startswith(("GPU 0:", "no GPU:"))


def test_what_was_planned_for_an_engine_on_a_card_stands_beside_what_it_takes() -> None:
    name = "vllm:llama-3.2-3b-instruct-awq@cuda:0?max_model_len=4096&max_num_seqs=2"
    _, voice, model = memory.in_use(
        [
            part(Role.TTS, "kokoro:/m/kokoro-v1.0@cuda:0", Place(21)),
            part(Role.LLM, name, Place(22)),
        ]
    )
    assert (voice.card, voice.planned_mib, voice.kv_mib) == (0, 1024, None)
    assert model.planned_mib is not None
    assert model.kv_mib == 896  # 112 KiB a token x 4096 x 2
    _, unknown = memory.in_use([part(Role.TTS, "kokoro:mine@cuda", Place(23))])
    assert unknown.planned_mib is None
