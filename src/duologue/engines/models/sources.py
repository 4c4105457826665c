"""The models that can be asked for by name, and how a source is read.

Repositories, file names, sizes and licences as the projects' own pages and documentation have them, in copies of
2023 to 2026; nothing was fetched from a hub to try. Whisper: faster-whisper 1.2.1's list; parameters by Radford et
al. 2022, table 1, and the turbo model's card. Kokoro: the release "model-files-v1.0" of kokoro-onnx and the files'
hashes, which its users publish alike. Piper: VOICES.md of rhasspy/piper. The zipformer: its repository's listing and
the file that sherpa-onnx's own script fetches. CSM, Voxtral, Pocket TTS: their repositories' files as those who
load them list them. GGUF: the repositories of Qwen and of bartowski; other language models: their makers'.
"""

from dataclasses import dataclass

from duologue.core.errors import SetupError
from duologue.engines.models.forms import (
    FORMS,
    HubSource,
    Link,
    Source,
    UrlSource,
    WheelSource,
    read,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A model that can be asked for by name.

    Attributes:
        megabytes: to download (10^6 bytes).
        use: how it is then used; empty where Duologue finds it by itself.
    """

    source: Source
    megabytes: int
    about: str
    use: str = ""


def parse(text: str) -> Source:
    """Read a source (see `forms`), or a name of the `CATALOGUE`.

    Raises:
        SetupError: it is neither.
    """
    if (known := CATALOGUE.get(text)) is not None:
        return known.source
    try:
        return read(text)
    except SetupError as error:
        raise SetupError(
            "model_source_invalid",
            f"'{text}' is no model that is known by name, and no source of one.",
            remedy=f"Use {FORMS}, or one of: {', '.join(CATALOGUE)}.",
        ) from error


# --- what the server itself may lack ---
SILERO = WheelSource(
    "silero-vad",
    "6.2.3",
    "silero_vad/data/silero_vad.onnx",
    "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
)
"""The batchable one, as the package itself carries it (hatch_build.py)."""

SMART_TURN = WheelSource(
    "pipecat-ai",
    "1.14.0",
    "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
    "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
)
"""The same as the package carries, if it could be had when that was built (hatch_build.py)."""

# --- recognisers ---
WHISPER_FILES = (
    "model.bin",
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.*",
)
"""What faster-whisper reads; some repositories hold more."""

CHECKPOINT = ("*.json", "*.jinja", "model*.safetensors", "merges.txt")
"""What Transformers reads, where a repository holds the same weights in other formats too."""


def _whisper(name: str, repo: str, megabytes: int, about: str) -> Known:
    use = f"duologue serve --stt whisper:{name}"
    return Known(HubSource(repo, files=WHISPER_FILES), megabytes, f"Whisper {about} (MIT)", use)


_ZIPFORMER = "sherpa-onnx-streaming-zipformer-en-2023-06-26"

_EARS = {
    "tiny": _whisper("tiny", "Systran/faster-whisper-tiny", 78, "39 M, 99 languages"),
    "tiny.en": _whisper("tiny.en", "Systran/faster-whisper-tiny.en", 78, "39 M, English"),
    "base": _whisper("base", "Systran/faster-whisper-base", 148, "74 M, 99 languages"),
    "base.en": _whisper("base.en", "Systran/faster-whisper-base.en", 148, "74 M, English"),
    "small": _whisper("small", "Systran/faster-whisper-small", 486, "244 M, 99 languages"),
    "small.en": _whisper("small.en", "Systran/faster-whisper-small.en", 486, "244 M, English"),
    "medium": _whisper("medium", "Systran/faster-whisper-medium", 1_530, "769 M, 99 languages"),
    "large-v3": _whisper(
        "large-v3", "Systran/faster-whisper-large-v3", 3_094, "1550 M, 100 languages"
    ),
    "distil-large-v3": _whisper(
        "distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1_516, "756 M, English"
    ),
    "large-v3-turbo": _whisper(
        "large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        1_624,
        "809 M, 100 languages",
    ),
    "whisper-large-v3-turbo": Known(
        HubSource("openai/whisper-large-v3-turbo", files=CHECKPOINT),
        1_625,
        "Whisper 809 M for Transformers, 100 languages (MIT)",
        "duologue serve --stt transformers-whisper:whisper-large-v3-turbo",
    ),
    _ZIPFORMER: Known(
        HubSource(
            f"csukuangfj/{_ZIPFORMER}",
            files=(
                "encoder-epoch-99-avg-1-chunk-16-left-128.int8.onnx",
                "decoder-epoch-99-avg-1-chunk-16-left-128.onnx",
                "joiner-epoch-99-avg-1-chunk-16-left-128.int8.onnx",
                "tokens.txt",
                "bpe.model",
            ),
        ),
        74,
        "streaming zipformer, English (Apache-2)",
        f"duologue serve --stt sherpa:{_ZIPFORMER}",
    ),
    "voxtral-mini-3b-2507": Known(
        HubSource("mistralai/Voxtral-Mini-3B-2507", files=CHECKPOINT),
        9_370,
        "Voxtral Mini 3B, 8 languages (Apache-2)",
        "duologue serve --stt voxtral:voxtral-mini-3b-2507",
    ),
}

# --- voices ---
_KOKORO = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"


def _piper(name: str) -> Known:
    language, voice, quality = name.split("-")
    folder = f"{language.partition('_')[0]}/{language}/{voice}/{quality}"
    source = HubSource(
        "rhasspy/piper-voices",
        files=(f"{folder}/{name}.onnx", f"{folder}/{name}.onnx.json", f"{folder}/MODEL_CARD"),
    )
    about = f"Piper's voice {voice}, {language} (its own licence: MODEL_CARD)"
    return Known(source, 63, about, f"duologue serve --tts piper:{name}")


_PIPER = (
    "en_US-lessac-medium",
    "en_GB-alan-medium",
    "cs_CZ-jirka-medium",
    "de_DE-thorsten-medium",
    "es_ES-davefx-medium",
    "fr_FR-siwis-medium",
    "nl_NL-mls-medium",
    "pl_PL-darkman-medium",
    "pt_BR-faber-medium",
    "ru_RU-irina-medium",
    "sv_SE-nst-medium",
    "tr_TR-dfki-medium",
    "uk_UA-ukrainian_tts-medium",
    "vi_VN-vais1000-medium",
    "zh_CN-huayan-medium",
)
"""One for each language that the planner plans for, and a British one; others are had as `hub:` sources."""

_VOICES = {
    "kokoro-v1.0": Known(
        UrlSource(
            (
                Link(
                    f"{_KOKORO}/kokoro-v1.0.onnx",
                    "7d5df8ecf7d4b1878015a32686053fd0eebe2bc377234608764cc0ef3636a6c5",
                ),
                Link(
                    f"{_KOKORO}/voices-v1.0.bin",
                    "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
                ),
            )
        ),
        354,
        "Kokoro 82 M, 54 voices, 8 languages (Apache-2)",
        "duologue serve --tts kokoro:kokoro-v1.0",
    ),
    "pocket-tts": Known(
        HubSource(
            "kyutai/pocket-tts-without-voice-cloning",
            files=(
                "languages/english/model.safetensors",
                "languages/english/tokenizer.json",
                "languages/english/embeddings/*.safetensors",
            ),
        ),
        410,
        "Pocket TTS 100 M, English, for CPUs (CC BY 4.0)",
        "duologue serve --tts pocket:pocket-tts",
    ),
    "csm-1b": Known(
        HubSource("sesame/csm-1b", files=("*.json", "*.jinja", "transformers-*.safetensors")),
        7_150,
        "Sesame CSM 1B, English; its terms may have to be accepted (Apache-2)",
        "duologue serve --tts csm:csm-1b",
    ),
    **{name: _piper(name) for name in _PIPER},
}


# --- language models ---
def _gguf(repo: str, file: str, megabytes: int, about: str) -> Known:
    use = f"llama-server -m FOLDER/{file}, then DUOLOGUE_LLM_URL=http://127.0.0.1:8080/v1"
    return Known(HubSource(repo, files=(file,)), megabytes, about, use)


def _transformers(name: str, repo: str, megabytes: int, about: str) -> Known:
    use = f"duologue serve --llm transformers:{name}"
    return Known(HubSource(repo, files=CHECKPOINT), megabytes, about, use)


_MINDS = {
    "distilgpt2": _transformers(
        "distilgpt2", "distilbert/distilgpt2", 357, "DistilGPT-2 82 M, English, to try (Apache-2)"
    ),
    "tinyllama-1.1b-chat": _transformers(
        "tinyllama-1.1b-chat",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        2_203,
        "TinyLlama 1.1B (Apache-2)",
    ),
    "llama-3.2-1b-instruct": _transformers(
        "llama-3.2-1b-instruct",
        "meta-llama/Llama-3.2-1B-Instruct",
        2_480,
        "Llama 3.2 1B; its terms must be accepted (Llama 3.2 licence)",
    ),
    "qwen2.5-0.5b-instruct-q4_k_m": _gguf(
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        491,
        "Qwen 2.5 0.5B, for llama.cpp (Apache-2)",
    ),
    "qwen2.5-1.5b-instruct-q4_k_m": _gguf(
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        1_117,
        "Qwen 2.5 1.5B, for llama.cpp (Apache-2)",
    ),
    "qwen2.5-7b-instruct-q4_k_m": _gguf(
        "bartowski/Qwen2.5-7B-Instruct-GGUF",
        "Qwen2.5-7B-Instruct-Q4_K_M.gguf",
        4_683,
        "Qwen 2.5 7B, for llama.cpp (Apache-2)",
    ),
    "llama-3.2-1b-instruct-q4_k_m": _gguf(
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        808,
        "Llama 3.2 1B, for llama.cpp (Llama 3.2 licence)",
    ),
    "llama-3.2-3b-instruct-q4_k_m": _gguf(
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        2_020,
        "Llama 3.2 3B, for llama.cpp (Llama 3.2 licence)",
    ),
}

CATALOGUE = {
    **_EARS,
    **_VOICES,
    **_MINDS,
    "silero-vad": Known(SILERO, 3, "Silero VAD (MIT)"),
    "smart-turn": Known(SMART_TURN, 13, "Smart Turn v3.2, end of turn (BSD-2)"),
}
"""Name -> model. The planner's plans name them so too."""
