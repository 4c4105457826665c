"""A journal of a version that knew less replays to what was decided then."""

import json

from duologue.session.journal import replay

HEAD = {
    "journal": 1,
    "session": "sess_old",
    "policy": {
        "detect": True,
        "silence_ms": 500,
        "draft_ms": 200,
        "barge_in_ms": 300,
        "verdict_ms": 300,
        "create_response": True,
        "interrupt_response": True,
        "idle_ms": None,
    },
}


def fact(kind: str, orders: list[dict[str, object]], **fields: object) -> dict[str, object]:
    return {"fact": {"kind": kind, **fields}, "orders": orders}


LINES = [
    HEAD,
    fact(
        "SpeechStarted",
        [
            {"kind": "Listen", "utterance": 1, "since": 0},
            {"kind": "AnnounceSpeech", "utterance": 1, "since": 0},
        ],
        at=0,
    ),
    fact("SpeechStopped", [], at=900),
    fact("Tick", [{"kind": "FinishDraft", "utterance": 1, "draft": 1}], at=1100),
    fact("TranscriptReady", [], at=1120, utterance=1, draft=1, text="what time is it"),
    fact(
        "Tick",
        [
            {
                "kind": "CommitUtterance",
                "utterance": 1,
                "upto": 22400,
                "why": "silence of 500 ms",
                "spoken": True,
            },
            {"kind": "CompleteTranscript", "utterance": 1, "text": "what time is it"},
            {"kind": "StartReply", "reply": 1, "ask": None},
        ],
        at=1400,
    ),
]


def test_an_old_journal_replays_to_the_same_orders() -> None:
    steps = list(replay(json.dumps(line) for line in LINES))
    assert len(steps) == 5
    assert [step.line for step in steps if not step.same] == []
