"""Voices, and what each takes."""

from collections.abc import Iterator

from duologue.core.capabilities import Role
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import Figure, Footprint

_KOKORO = ("en", "es", "fr", "hi", "it", "ja", "pt", "zh")
_PIPER = {
    "en": "en_US-lessac-medium",
    "cs": "cs_CZ-jirka-medium",
    "de": "de_DE-thorsten-medium",
    "es": "es_ES-davefx-medium",
    "fr": "fr_FR-siwis-medium",
    "nl": "nl_NL-mls-medium",
    "pl": "pl_PL-darkman-medium",
    "pt": "pt_BR-faber-medium",
    "ru": "ru_RU-irina-medium",
    "sv": "sv_SE-nst-medium",
    "tr": "tr_TR-dfki-medium",
    "uk": "uk_UA-ukrainian_tts-medium",
    "vi": "vi_VN-vais1000-medium",
    "zh": "zh_CN-huayan-medium",
}
"""A voice speaks one language. Names as the project's list of voices has them; others are chosen by hand."""


def voices() -> Iterator[Candidate]:
    """All voices."""
    weights = Figure(312, "documented", "82 M parameters in 32 bits, the published file")
    kokoro = Footprint(
        weights,
        Figure(342, "estimated", "reports run from 1 to 3 GB in all; calibrate"),
        stream=Figure(20),
        ram=Figure(900, "estimated", "ONNX Runtime with its CUDA libraries"),
        first_ms=Figure(80),
    )
    yield Candidate(
        role=Role.TTS,
        engine="kokoro",
        model="kokoro-v1.0",
        precision="fp32",
        kind="cuda",
        footprint=kokoro,
        quality=78,
        is_alone=True,
        languages=_KOKORO,
    )
    kokoro = Footprint(
        weights,
        Figure(400),
        stream=Figure(20),
        ram=Figure(200),
        millicores=Figure(2_600, "documented", "real-time factor 0.65 on 4 cores of an old Xeon"),
        first_ms=Figure(700),
    )
    yield Candidate(
        role=Role.TTS,
        engine="kokoro",
        model="kokoro-v1.0",
        precision="fp32",
        kind="cpu",
        footprint=kokoro,
        quality=78,
        is_alone=True,
        languages=_KOKORO,
    )
    csm = Footprint(
        Figure(3_110, "computed", "1632 M parameters, codec with them, x 2 bytes"),
        Figure(
            1_290, "estimated", "KV cache and audio context; reports run from 2 to 4.6 GB in all"
        ),
        ram=Figure(2_500, "estimated", "torch and transformers"),
        first_ms=Figure(300),
    )
    for precision, least in (("bf16", (8, 0)), ("fp16", (7, 0))):
        yield Candidate(
            role=Role.TTS,
            engine="csm",
            model="csm-1b",
            precision=precision,
            kind="cuda",
            footprint=csm,
            quality=88,
            is_alone=True,
            capability=least,
            languages=("en",),
            max_sessions=1,  # real-time factor 0.87 on a 5090 before anything is compiled
        )
    yield from _light_voices()


def _light_voices() -> Iterator[Candidate]:
    pocket = Footprint(
        Figure(400, "computed", "100 M parameters in 32 bits"),
        Figure(150),
        stream=Figure(20),
        ram=Figure(700, "estimated", "torch"),
        millicores=Figure(
            700, "documented", "six times real time on 2 fast cores, RTF 0.71 on a slow Xeon"
        ),
        first_ms=Figure(250, "documented", "about 200 ms"),
    )
    yield Candidate(
        role=Role.TTS,
        engine="pocket",
        model="pocket-tts",
        precision="fp32",
        kind="cpu",
        footprint=pocket,
        quality=72,
        is_alone=True,
        languages=("en",),
    )
    piper = Footprint(
        Figure(64, "documented", "a medium voice's file"),
        Figure(80),
        stream=Figure(10),
        ram=Figure(150),
        millicores=Figure(150),
        first_ms=Figure(100),
    )
    for language, name in _PIPER.items():
        yield Candidate(
            role=Role.TTS,
            engine="piper",
            model=name,
            precision="fp32",
            kind="cpu",
            footprint=piper,
            quality=62 if language == "en" else 61.9,  # English is what is planned for unsaid
            is_alone=True,
            languages=(language,),
        )
    for name, mib, score in (("flite", 30, 30), ("espeak", 12, 20)):
        voice = Footprint(
            Figure(mib, "measured"),
            Figure(8),
            ram=Figure(40, "measured", "a process of its own"),
            millicores=Figure(20, "measured", "real-time factor 0.012 and less"),
            first_ms=Figure(22 if name == "flite" else 1, "measured"),
        )
        yield Candidate(
            role=Role.TTS,
            engine=name,
            model="",
            precision="",
            kind="cpu",
            footprint=voice,
            quality=score,
            is_alone=True,
            languages=("en",) if name == "flite" else (),
            is_built_in=True,
        )
