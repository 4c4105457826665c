"""`duologue doctor`: what is installed, what works, what to do about the rest.

The engines that come with the server are loaded and run. The others need a model, a program or a server of
somebody's choice: of them it says whether what they are made of is here, and asks nobody over the network.
"""

import argparse
import asyncio
import platform
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Literal

from duologue import __version__, settings
from duologue.core.capabilities import Role
from duologue.core.errors import DuologueError

Verdict = Literal["works", "absent", "broken"]

MARKS = {"works": "ok  ", "absent": "-   ", "broken": "FAIL"}

NEEDED = {Role.VAD: "detect speech", Role.STT: "understand", Role.LLM: "answer", Role.TTS: "speak"}

BUILT_IN = ("silero", "smart-turn", "pocketsphinx", "flite", "espeak", "skills")
"""Engines that need nothing but the server, and perhaps a library of the system."""

OPTIONAL_ENGINES = {
    "smart-turn": "an ear for whether a speaker has finished",
    "flite": "the clearest embedded English voice",
}


PACKAGES = (
    ("faster_whisper", "engine `whisper`: conversation-grade hearing", "whisper", "faster-whisper"),
    ("sherpa_onnx", "engine `sherpa`", "sherpa", "sherpa-onnx"),
    (
        "transformers",
        "engines `transformers`, `transformers-whisper`, `voxtral`, `csm`",
        "transformers",
        "transformers",
    ),
    ("kokoro_onnx", "engine `kokoro`", "kokoro", "kokoro-onnx"),
    ("piper", "engine `piper`", "piper", "piper-tts"),
    ("pocket_tts", "engine `pocket`", "pocket", "pocket-tts"),
)
"""Module, what for, extra, name as a distribution."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` says what to do, where something is to be done."""

    what: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def parser() -> argparse.ArgumentParser:
    """The options."""
    return argparse.ArgumentParser(
        prog="duologue doctor",
        description="Look at everything a server needs here. Exit code 0 if one can run, else 1.",
    )


def main(argv: list[str]) -> int:
    """Examine, print, conclude."""
    parser().parse_args(argv)
    print(f"Duologue {__version__} on Python {platform.python_version()}, {platform.platform()}\n")
    works: set[Role] = set()
    broken = []
    try:
        settings.load({"no_auth": True})
    except DuologueError as error:
        broken.append(Finding("settings", "broken", error.message, error.remedy))
        _show(broken[0])
    for role, finding in asyncio.run(_examine_engines()):
        _show(finding)
        if finding.verdict == "works":
            works.add(role)
    for finding in (*_look_around(), *asyncio.run(_look_for_llm())):
        _show(finding)
        if finding.verdict == "broken":
            broken.append(finding)
    missing = [f"nothing here can {verb}" for role, verb in NEEDED.items() if role not in works]
    missing += [f"{finding.what} as it is set up does not work" for finding in broken]
    print(
        f"\n{'No server can run: ' + '; '.join(missing) if missing else 'A server can run here.'}"
    )
    return 1 if missing else 0


def _show(finding: Finding) -> None:
    print(f"{MARKS[finding.verdict]} {finding.what:24s} {finding.detail}")
    if finding.remedy:
        print(f"     {'':24s} -> {finding.remedy}")


async def _examine_engines() -> list[tuple[Role, Finding]]:
    from duologue.engines import registry

    return [
        (role, await _examine(role, name))
        for role in Role
        for name in registry.names(role)
        if name in BUILT_IN
    ]


async def _examine(role: Role, name: str) -> Finding:
    """Load an engine and run it, as a server would."""
    from duologue.engines import registry
    from duologue.engines.base import BlockingEngine
    from duologue.engines.pool_subprocess import SubprocessPool

    what, began = f"{role} {name}", time.monotonic()
    try:
        spec, argument = registry.find(name, role)
        if spec.is_own_process:
            async with SubprocessPool(spec, argument, processes=1) as pool:
                await pool.start()
        else:
            engine = spec.make(argument)
            await asyncio.to_thread(engine.load)
            await asyncio.to_thread(engine.warm_up)
            if isinstance(engine, BlockingEngine):
                engine.close()
    except DuologueError as error:
        wanted = OPTIONAL_ENGINES.get(name)
        detail = f"{error.message} It would be {wanted}." if wanted else error.message
        return Finding(what, "absent" if wanted else "broken", detail, error.remedy)
    took_s = time.monotonic() - began
    return Finding(what, "works", f"{spec.about}; loaded and run in {took_s:.1f} s")


def _look_around() -> Iterator[Finding]:
    yield _package("sounddevice", "sound card of `duologue talk`", "device")
    for package in PACKAGES:
        yield _package(*package)
    yield from _programs()
    yield from _brought()
    yield _port(settings.Settings().port)
    keys = settings.listed(settings.variable("API_KEY"))
    text = f"{len(keys)} set" if keys else "none: the server binds to this machine only"
    yield Finding("API keys", "works" if keys else "absent", text)


def _package(module: str, use: str, extra: str, name: str = "") -> Finding:
    try:
        found = version(name or module)
    except PackageNotFoundError:
        remedy = f"`pip install 'duologue[{extra}]'`"
        if extra != "device":
            remedy = f"`make setup EXTRAS={extra}`, or {remedy}"
        return Finding(module, "absent", f"not installed ({use})", remedy)
    if module == "sounddevice":
        return _sound_card(found)
    return Finding(module, "works", f"{found} ({use})")


def _programs() -> Iterator[Finding]:
    """Servers of language models that we would start; they are looked for and not run."""
    from duologue.engines.managed_llm.kinds import LLAMA_SERVER, OLLAMA, VLLM, program

    for kind in (VLLM, LLAMA_SERVER, OLLAMA):
        use = f"engine `{kind.binary}`"
        if found := program(kind):
            yield Finding(kind.binary, "works", f"{found} ({use})")
        else:
            yield Finding(kind.binary, "absent", f"not found on PATH ({use})", kind.get_it)


def _brought() -> Iterator[Finding]:
    """Engines of other packages: what they need is theirs to say, when they are used."""
    from duologue.engines import registry

    for point in entry_points(group=registry.GROUP):
        if not point.value.startswith("duologue."):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            yield Finding(f"engine {point.name}", "works", f"of {package}; not tried")


def _sound_card(found: str) -> Finding:
    try:
        import sounddevice

        devices = len(sounddevice.query_devices())
    except OSError as error:
        return Finding(
            "sounddevice",
            "absent",
            f"{found}, but {error}",
            "install libportaudio2; only `duologue talk` with a microphone needs it",
        )
    remedy = "" if devices else "only `duologue talk` with a microphone needs one"
    return Finding(
        "sounddevice", "works" if devices else "absent", f"{found}, {devices} devices", remedy
    )


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        is_taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if is_taken:
        return Finding(f"port {port}", "absent", "something listens there", "use --port")
    return Finding(f"port {port}", "works", "free")


async def _look_for_llm() -> list[Finding]:
    from duologue.engines.chat import local_llms

    if url := settings.variable("LLM_URL"):
        return [await _try_llm(url)]
    found = await local_llms.find(skip_ports=())
    if not found:
        remedy = "run Ollama, llama.cpp or vLLM, or set DUOLOGUE_LLM_URL"
        text = "none: answers come from the offline skills"
        return [Finding("language model", "absent", text, remedy)]
    return [
        Finding("language model", "works", f"{llm.name} at {llm.url}", f"--llm-url {llm.url}")
        for llm in found
    ]


async def _try_llm(url: str) -> Finding:
    from duologue.engines.chat.responder import OpenAIResponder

    model = settings.variable("LLM_MODEL")
    try:
        responder = OpenAIResponder(url, model, settings.variable("LLM_API_KEY"))
        await asyncio.to_thread(responder.load)
    except DuologueError as error:
        return Finding("language model", "broken", error.message, error.remedy)
    return Finding("language model", "works", f"{model or 'its first model'} at {url}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
