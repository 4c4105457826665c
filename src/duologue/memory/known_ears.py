"""Recognisers of speech, and what each takes."""

from collections.abc import Iterator, Mapping

from duologue.core.capabilities import Role
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import MIB, Figure, Footprint, Source


def whisper() -> Iterator[Candidate]:
    """Those of faster-whisper (CTranslate2). Weights by parameters; sums of the large models as published."""
    for name, (million, width, layers, work, score, cuda_ms, cpu) in _WHISPERS.items():
        languages = ("en",) if name.startswith("distil") else ()
        cross_kv = -(-1_500 * width * 2 * layers * 2 // MIB)
        stream = Figure(
            cross_kv, "computed", "cross-attention of 30 s: 1500 x width x layers x 4 B"
        )
        for precision, size, more, source, least in (
            ("float16", 2, work[0], work[2], (7, 0)),
            ("int8_float16", 1, work[1], work[2], (7, 0)),
            ("int8", 1, work[1], work[2], (6, 1)),
        ):
            footprint = Footprint(
                Figure(round(million * size * 1e6 / MIB), "computed", "parameters x bytes"),
                Figure(more, source, _WHISPER_SOURCE[source]),
                stream=stream,
                ram=Figure(900, "estimated", "CTranslate2 with its CUDA libraries"),
                first_ms=Figure(cuda_ms, "estimated", "one utterance on a card of 2020"),
            )
            lost = {"float16": 0.0, "int8_float16": 0.5, "int8": 0.6}[precision]
            lost += _INT8_LOSS.get(name, 0.0) if size == 1 else 0.0
            yield Candidate(
                role=Role.STT,
                engine="whisper",
                model=name,
                precision=precision,
                kind="cuda",
                footprint=footprint,
                quality=score - lost,
                capability=least,
                languages=languages,
                streams_at_most=8,
            )
        if cpu is None:
            continue
        footprint = Footprint(
            Figure(round(million * 1e6 / MIB), "computed", "parameters x 1 byte"),
            Figure(cpu[0], "documented", "peak RSS of int8 on 2 threads, less the weights"),
            stream=stream,
            millicores=Figure(cpu[1]),
            first_ms=Figure(cpu[2]),
        )
        yield Candidate(
            role=Role.STT,
            engine="whisper",
            model=name,
            precision="int8",
            kind="cpu",
            footprint=footprint,
            quality=score - 0.5,
            languages=languages,
            streams_at_most=8,
        )


_WHISPERS: Mapping[
    str,
    tuple[int, int, int, tuple[int, int, Source], float, int, tuple[int, int, int] | None],
] = {
    # millions, width, decoder layers, work (fp16, int8), quality, first ms, CPU (work, millicores, first ms)
    "tiny": (38, 384, 4, (205, 195, "estimated"), 48, 30, (207, 250, 300)),
    "base": (73, 512, 6, (215, 195, "estimated"), 60, 40, (280, 500, 600)),
    "small": (242, 768, 12, (247, 217, "estimated"), 74.5, 60, (448, 1_500, 1_500)),
    "medium": (764, 1_024, 24, (240, 210, "estimated"), 78, 200, (700, 4_500, 4_000)),
    "large-v3": (1_543, 1_280, 32, (993, 897, "documented"), 86, 300, None),
    "large-v3-turbo": (809, 1_280, 4, (614, 393, "documented"), 84.5, 110, (900, 6_000, 4_000)),
    "distil-large-v3": (756, 1_280, 2, (602, 395, "documented"), 84, 130, (850, 5_500, 3_800)),
}
_INT8_LOSS = {"large-v3": 2.0}
"""Word error rate 2.9 -> 4.6 % (faster-whisper issue 1030); of turbo and distil none."""
_WHISPER_SOURCE = {
    "documented": "faster-whisper issue 1030, sum on a 2080 Ti less weights, context and one stream",
    "estimated": "0.2 to 0.4 GB beside the weights",
}


def others() -> Iterator[Candidate]:
    """All but Whisper on CTranslate2."""
    zipformer = Footprint(
        Figure(70, "documented", "int8 files of sherpa-onnx"),
        Figure(150),
        stream=Figure(4),
        ram=Figure(120),
        millicores=Figure(150),
        first_ms=Figure(60),
    )
    name = "sherpa-onnx-streaming-zipformer-en-2023-06-26"
    yield Candidate(
        Role.STT, "sherpa", name, "int8", "cpu", zipformer, 62, is_alone=True, languages=("en",)
    )
    voxtral = Footprint(
        Figure(8_926, "computed", "4680 M parameters x 2 bytes"),
        Figure(700),
        stream=Figure(60),
        ram=Figure(2_500, "estimated", "torch and transformers"),
        first_ms=Figure(250),
    )
    for precision, least in (("bf16", (8, 0)), ("fp16", (7, 0))):
        yield Candidate(
            role=Role.STT,
            engine="voxtral",
            model="voxtral-mini-3b-2507",
            precision=precision,
            kind="cuda",
            footprint=voxtral,
            quality=87,
            is_alone=True,
            capability=least,
            languages=("de", "en", "es", "fr", "hi", "it", "nl", "pt"),
            max_sessions=2,
        )
    turbo = Footprint(
        Figure(1_543, "computed", "809 M parameters x 2 bytes"),
        Figure(800),
        stream=Figure(30, "computed", "cross-attention of 30 s"),
        ram=Figure(2_500, "estimated", "torch and transformers"),
        first_ms=Figure(200),
    )
    yield Candidate(
        role=Role.STT,
        engine="transformers-whisper",
        model="whisper-large-v3-turbo",
        precision="fp16",
        kind="cuda",
        footprint=turbo,
        quality=84,
        is_alone=True,
        capability=(7, 0),
        max_sessions=4,
    )
    sphinx = Footprint(
        Figure(96, "measured", "one decoder, loaded"),
        Figure(12, "measured", "decoding"),
        stream=Figure(27, "measured", "a decoder forked after loading"),
        millicores=Figure(250, "measured", "real-time factor 0.2 to 0.25"),
        first_ms=Figure(20, "measured"),
    )
    yield Candidate(
        role=Role.STT,
        engine="pocketsphinx",
        model="",
        precision="",
        kind="cpu",
        footprint=sphinx,
        quality=15,
        is_alone=True,
        languages=("en",),
        is_built_in=True,
    )
