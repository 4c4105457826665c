"""Intelligibility of the embedded voices, in one run: who is understood best, how soon, at what cost.

Each voice says the sentences of `bench.tts_sentences` through the real engine, one after another, and

- WER: the embedded recogniser's dictation search transcribes each; share of words wrong, with the 95 %
  interval over resampled sentences. It is a weak listener, which was trained on American read speech: its
  figures rank voices, and say nothing of how good a voice sounds.
- glimpses: independent of any recogniser. Share of the speech's points in time and frequency that stand
  3 dB and more out of kitchen noise as loud as the target level of the voices (Cooke 2006, "A glimpsing
  model of speech perception in noise", doi 10.1121/1.2166600, over third-octave bands, 100 Hz to 7.5 kHz).
- TTFA: from a text offered to its first sound, and how much silence that sound begins with; RTF: computing
  per second of sound; both in a process that does nothing else. MiB: what that process grew by.

    python -m bench.eval_tts [--voices espeak:de,flite:rms] [--speed 1.0] [--json FILE]
"""

import argparse
import json
import multiprocessing as mp
import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soxr
from numpy.typing import NDArray

from bench.speech import decode
from bench.tts_sentences import SENTENCES
from duologue.core.errors import EngineError
from duologue.engines.base import BlockingEngine, Flush, Item
from duologue.engines.voices import espeak, flite
from duologue.engines.voices.part_sound import LEVEL_DBFS, level_dbfs
from duologue.ports import Audio, Event, Say, TtsOptions

STT_HZ = 16_000
NOISE = Path(__file__).parent.parent / "tests/data/noise-sb_noise3.flac"
SPECS = {"espeak": espeak.SPEC, "flite": flite.SPEC}
VOICES = (
    "espeak: espeak:en-us espeak:en-gb espeak:en-us+f3 flite:slt flite:rms flite:awb flite:kal16"
).split()

Sound = NDArray[np.float64]


@dataclass(slots=True)
class Figures:
    """What is said of one voice. Times in ms, levels in dBFS, shares of 1."""

    voice: str
    rate_hz: int = 0
    sounds: list[bytes] = field(default_factory=list, repr=False)
    ttfa_ms: float = 0.0
    ttfa_max_ms: float = 0.0
    lead_ms: float = 0.0
    rtf: float = 0.0
    words_per_minute: float = 0.0
    level_dbfs: float = 0.0
    peak_dbfs: float = 0.0
    ram_mib: float = 0.0
    glimpses: float = 0.0
    wer: float = 0.0
    wer_low: float = 0.0
    wer_high: float = 0.0
    missing: str = ""


class _Inbox:
    """What a stream is given, from a list."""

    cancelled = False

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


# --- speaking ---
def speak(voice: str, speed: float) -> Figures:
    """All sentences by one voice ("engine:name"), in this process."""
    figures = Figures(voice)
    before = psutil.Process().memory_info().rss
    name, _, wanted = voice.partition(":")
    engine: BlockingEngine = SPECS[name].make("")
    try:
        engine.load()
    except EngineError as error:
        figures.missing = str(error)
        return figures
    engine.warm_up()
    figures.rate_hz = engine.capabilities.rate_hz
    firsts: list[float] = []
    spent_s = 0.0
    for text, _ in SENTENCES:
        sound, first_s, all_s = _say(engine, TtsOptions(voice=wanted, speed=speed), text)
        figures.sounds.append(sound)
        firsts.append(first_s * 1000)
        spent_s += all_s
    seconds = sum(map(len, figures.sounds)) / 2 / figures.rate_hz
    figures.ttfa_ms, figures.ttfa_max_ms = statistics.median(firsts), max(firsts)
    figures.rtf = spent_s / seconds
    words = sum(len((said or text).split()) for text, said in SENTENCES)
    figures.words_per_minute = words * 60 / seconds
    figures.ram_mib = (psutil.Process().memory_info().rss - before) / 2**20
    return figures


def _say(engine: BlockingEngine, options: TtsOptions, text: str) -> tuple[bytes, float, float]:
    sound = bytearray()
    first_s = 0.0
    start = time.perf_counter()

    def emit(event: Event) -> None:
        nonlocal first_s
        if isinstance(event, Audio):
            first_s = first_s or time.perf_counter() - start
            sound.extend(event.pcm)

    engine.run(options, _Inbox([Say(0, text), Flush(1)]), emit)
    return bytes(sound), first_s, time.perf_counter() - start


# --- listening ---
def listen(figures: Figures) -> Figures:
    """Add what was understood, in this process."""
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL", fwdflat=False)
    wrong: list[tuple[int, int]] = []
    for (text, said), pcm in zip(SENTENCES, figures.sounds, strict=True):
        heard = _transcribe(decoder, _at_16_khz(pcm, figures.rate_hz))
        words = normal(said or text)
        wrong.append((edits(words, normal(heard)), len(words)))
    figures.wer, figures.wer_low, figures.wer_high = word_error_rate(wrong)
    return figures


def _transcribe(decoder, sound: Sound) -> str:  # type: ignore[no-untyped-def]
    quiet = np.zeros(STT_HZ // 5)
    noise = np.random.default_rng(1).standard_normal(len(sound) + 2 * len(quiet)) * 2
    pcm = (np.concatenate((quiet, sound, quiet)) + noise).clip(-32768, 32767).astype("<i2")
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=False)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def _at_16_khz(pcm: bytes, rate_hz: int) -> Sound:
    sound: Sound = soxr.resample(np.frombuffer(pcm, "<i2").astype(np.float64), rate_hz, STT_HZ)
    return sound


def normal(text: str) -> list[str]:
    """Words as a recogniser writes them."""
    return re.sub(r"[^a-z' ]+", " ", text.lower()).split()


def edits(wanted: Sequence[str], got: Sequence[str]) -> int:
    """Fewest words to put in, take out or exchange (Levenshtein)."""
    row = list(range(len(got) + 1))
    for n, want in enumerate(wanted, 1):
        before, row[0] = row[0], n
        for m, have in enumerate(got, 1):
            cheapest = min(row[m] + 1, row[m - 1] + 1, before + (want != have))
            before, row[m] = row[m], cheapest
    return row[-1]


def word_error_rate(wrong: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Rate, and its 95 % interval over a thousand resampled sets of sentences; of (edits, words) each."""
    dice = random.Random(1)

    def rate(sample: Sequence[tuple[int, int]]) -> float:
        return sum(n for n, _ in sample) / sum(words for _, words in sample)

    rates = sorted(rate(dice.choices(wrong, k=len(wrong))) for _ in range(1000))
    return rate(wrong), rates[25], rates[974]


# --- the sound itself ---
def measure(figures: Figures) -> None:
    """Add level, peak, the silence before the first word, and glimpses."""
    sounds = [_at_16_khz(pcm, figures.rate_hz) for pcm in figures.sounds]
    leads = [_lead_ms(sound) for sound in sounds]
    figures.lead_ms = statistics.median(leads)
    speech = np.concatenate(sounds)
    figures.level_dbfs = level_dbfs(b"".join(figures.sounds), figures.rate_hz)
    figures.peak_dbfs = 20 * float(np.log10(np.abs(speech).max() / 32768))
    noise = np.frombuffer(decode(NOISE, STT_HZ), "<i2").astype(np.float64)
    noise *= 32768 * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(noise**2))
    figures.glimpses = glimpses(speech, np.resize(noise, len(speech)))


def _lead_ms(sound: Sound) -> float:
    """Silence at the beginning: up to the first 5 ms within 40 dB of the loudest."""
    power = _power(sound, STT_HZ // 200)
    return 5.0 * int(np.argmax(power > power.max() / 10_000))


def _power(sound: Sound, frame: int) -> Sound:
    whole = sound[: len(sound) - len(sound) % frame].reshape(-1, frame)
    power: Sound = np.mean(whole**2, axis=1)
    return power


def glimpses(speech: Sound, noise: Sound) -> float:
    """Share of the bands of speech's audible frames that stand 3 dB out of the noise."""
    voice, rest = _bands(speech), _bands(noise)
    audible = voice.sum(axis=1) > voice.sum(axis=1).max() / 1000
    return float(np.mean(voice[audible] > 2 * rest[audible]))


def _bands(sound: Sound) -> Sound:
    """Power in third-octave bands, every 10 ms."""
    size = 512
    starts = np.arange(0, len(sound) - size, STT_HZ // 100)
    frames = sound[starts[:, None] + np.arange(size)] * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(frames)) ** 2
    hz = np.fft.rfftfreq(size, 1 / STT_HZ)
    edges = 100 * 2 ** (np.arange(20) / 3)
    columns = [spectrum[:, (hz >= low) & (hz < low * 2 ** (1 / 3))] for low in edges if low < 7_000]
    return np.stack([c.sum(axis=1) for c in columns if c.shape[1]], axis=1)


# --- the run ---
def run(voices: Sequence[str], speed: float) -> list[Figures]:
    """Speak in one process a voice, one at a time, for times are measured; then listen on all cores."""
    context = mp.get_context("spawn")
    spoken = []
    for voice in voices:
        with ProcessPoolExecutor(1, mp_context=context) as child:
            spoken.append(child.submit(speak, voice, speed).result())
    here = [figures for figures in spoken if not figures.missing]
    for figures in here:
        measure(figures)
    with ProcessPoolExecutor(mp_context=context) as children:
        heard = {figures.voice: figures for figures in children.map(listen, here)}
    return [heard.get(figures.voice, figures) for figures in spoken]


def report(results: Sequence[Figures]) -> None:
    """Print the table."""
    print(f"{len(SENTENCES)} sentences each; WER by the embedded recogniser, dictation search")
    print(
        f"{'voice':18}{'WER %':>7}{'95 %':>10}{'glimpses':>10}{'TTFA ms':>9}{'max':>7}"
        f"{'lead':>6}{'RTF':>9}{'wpm':>6}{'level':>7}{'peak':>7}{'MiB':>6}"
    )
    for one in results:
        if one.missing:
            print(f"{one.voice:18} not here: {one.missing}")
            continue
        interval = f"{one.wer_low * 100:.0f}-{one.wer_high * 100:.0f}"
        print(
            f"{one.voice:18}{one.wer * 100:7.1f}{interval:>10}{one.glimpses * 100:9.0f}%"
            f"{one.ttfa_ms:9.2f}{one.ttfa_max_ms:7.1f}{one.lead_ms:6.0f}{one.rtf:9.4f}"
            f"{one.words_per_minute:6.0f}{one.level_dbfs:7.1f}{one.peak_dbfs:7.1f}{one.ram_mib:6.0f}"
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--voices", default=",".join(VOICES), help="engine:name, by commas")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args(argv)
    results = run(arguments.voices.split(","), arguments.speed)
    report(results)
    if arguments.json:
        figures = [{k: v for k, v in asdict(one).items() if k != "sounds"} for one in results]
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
