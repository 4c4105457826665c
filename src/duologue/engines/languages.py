"""What would add a language to a server whose engines lack it."""

from collections.abc import Iterable

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import ClientError
from duologue.core.languages import family, is_lacking
from duologue.engines.voices.espeak_voices import LANGUAGES as ESPEAK

WHISPER = tuple(
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he "
    "uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk te fa "  # codespell:ignore te
    "lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa "
    "si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn "  # codespell:ignore fo
    "mt sa lb my bo tl mg as tt haw ln ha ba jw su".split()
)
"""Those of every multilingual Whisper, by the tokens of its vocabulary (openai/whisper, `tokenizer.py`); large-v3
knows Cantonese (yue), too."""

LISTED = 8
"""Languages that a message names."""

_DOES = {Role.STT: "understands", Role.TTS: "speaks", Role.LLM: "answers in"}


def lacking(role: Role, language: str, capabilities: Iterable[Capabilities]) -> ClientError | None:
    """What a client is told that wants a language which no engine of a role knows; None if one does.

    Args:
        role: STT, TTS or LLM.
        language: a tag; empty for whichever is spoken, which no engine lacks.
        capabilities: of all engines of the role that are up.
    """
    chain = list(capabilities)
    if not is_lacking(chain, language):
        return None
    known = sorted({each for one in chain for each in one.languages})
    listed = ", ".join(known[:LISTED]) + (
        f" and {len(known) - LISTED} more" if known[LISTED:] else ""
    )
    return ClientError(
        "language_not_available",
        f"Nothing on this server {_DOES[role]} the language '{language[:32]}'; it has: {listed}.",
        remedy=_remedy(role, family(language)),
        param="language",
    )


def _remedy(role: Role, language: str) -> str:
    """How the server is to be started, with what installed: what is embedded before what is fetched."""
    if role is Role.TTS:
        if language in ESPEAK:
            return (
                "espeak-ng does, which is part of the server: `duologue serve --tts ENGINE,espeak`."
            )
        return "Use a voice that does, behind a URL: `duologue serve --tts 'openai-tts:URL|MODEL'`."
    if role is Role.LLM:
        return "Connect a language model: `duologue serve --llm-url URL`."
    if language in WHISPER:
        return (
            "Whisper does: `pip install 'duologue[whisper]'`, `duologue models pull base`, and "
            "`duologue serve --stt whisper:base,embedded`."
        )
    return (
        "Use a recogniser that does, behind a URL: `duologue serve --stt 'openai-stt:URL|MODEL'`."
    )
