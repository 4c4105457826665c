"""What Prometheus scrapes of streaming sessions and of the store: read at the moment of the scrape."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from duologue.session.streaming.desk import Overview
from duologue.session.streaming.workers import Load
from duologue.store.archive import StoreStats


def of_streams(about: Overview) -> Iterator[Metric]:
    """How the desk stands."""
    text = "Streaming sessions that are open."
    yield GaugeMetricFamily("duologue_stream_sessions_open", text, len(about.active))
    text = "Sound that streaming sessions hold."
    yield GaugeMetricFamily("duologue_stream_held_bytes", text, about.held_bytes)
    text = "Sound of texts that were spoken before."
    yield GaugeMetricFamily("duologue_spoken_cache_bytes", text, about.cache_bytes)
    text = "Texts whose sound was still known."
    yield CounterMetricFamily("duologue_spoken_cache_hits", text, about.cache_hits)
    loads = {"transcription": about.transcription, "tts": about.tts}
    for name, (text, read) in _LOADS.items():
        family = GaugeMetricFamily(f"duologue_workers_{name}", text, labels=["kind"])
        for kind, load in loads.items():
            family.add_metric([kind], read(load))
        yield family


def of_store(stats: StoreStats) -> Iterator[Metric]:
    """How the store stands."""
    for name, text, count in (
        ("written", "Calls that were committed.", stats.written),
        ("failed", "Calls that were not.", stats.failed),
        ("overruns", "Calls that came when too many waited.", stats.overruns),
        ("absences", "Tries that found the database away.", stats.absences),
    ):
        yield CounterMetricFamily(f"duologue_store_{name}", text, count)
    for name, text, value in (
        ("waiting", "Calls that wait.", stats.waiting),
        ("waiting_bytes", "What they hold.", stats.waiting_bytes),
        ("commit_seconds", "Median of the latest commits.", stats.commit_ms / 1000),
        ("commit_max_seconds", "The longest of them.", stats.commit_max_ms / 1000),
    ):
        yield GaugeMetricFamily(f"duologue_store_{name}", text, value)


def _number(load: Load) -> float:
    return load.number


def _busy(load: Load) -> float:
    return load.busy


def _waiting(load: Load) -> float:
    return load.waiting


def _wait_max(load: Load) -> float:
    return load.wait_max_ms / 1000


_LOADS = {
    "number": ("How many there may be at a time.", _number),
    "busy": ("How many work.", _busy),
    "waiting": ("Sessions that wait for one.", _waiting),
    "wait_max_seconds": ("The longest of the latest waits.", _wait_max),
}
