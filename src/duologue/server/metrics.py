"""What Prometheus scrapes: read from the meters at the moment of the scrape, not kept twice."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from duologue.memory.watch import Gauge
from duologue.server.engine_state import EngineState
from duologue.server.stream_metrics import of_store, of_streams
from duologue.session.meters import STAGES, Meters, Turn
from duologue.session.streaming.desk import Overview
from duologue.store.archive import StoreStats

BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "sessions": "Sessions opened.",
    "sessions_failed": "Sessions that ended because of an error of ours.",
    "sessions_refused": "Connections refused because the server was full.",
    "interruptions": "Answers that the user stopped by speaking.",
    "false_alarms": "Answers held for a sound that turned out to be nothing, and resumed.",
    "transcripts_failed": "Utterances that no engine could transcribe.",
    "underruns": "Times a listener ran dry in the middle of an answer.",
    "sessions_kept": "Sessions whose client was lost and that were kept for it.",
    "sessions_resumed": "Sessions that their client came back to.",
    "resumes_refused": "Clients that wanted a session back that was gone or not theirs.",
    "input_frames_lost": "Frames of clients' sound that never came.",
    "input_frames_late": "Frames of clients' sound that came twice or too late.",
    "stream_sessions": "Streaming sessions opened, or brought back.",
    "sessions_restored": "Sessions brought back from the store after a restart.",
    "store_late": "Times that a client was told before the store had it, because the store was slow.",
    "summaries": "Summaries of what the language model is not shown any more.",
    "summaries_extracted": "Of those, the ones that no language model wrote.",
    "summaries_dropped": "Summaries dropped because an item of them was changed or deleted.",
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers that are read when asked for."""

    lag_ms: Callable[[], Iterable[float]]
    windows: Callable[[], tuple[int, int]]
    fallbacks: Callable[[], int]
    broken: Callable[[], int]
    engines: Callable[[], Sequence[EngineState]]
    memory: Callable[[], Sequence[Gauge]] = tuple
    streams: Callable[[], Overview] | None = None
    store: Callable[[], StoreStats] | None = None


class Metrics:
    """The `/metrics` of one server."""

    def __init__(self, meters: Meters, gauges: Gauges) -> None:
        self._meters = meters
        self._gauges = gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._stages = Histogram(
            "duologue_turn_seconds",
            "From the end of the user's speech to each stage of the turn.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        meters.on_turn = self._observe

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        meters, gauges = self._meters, self._gauges
        yield _gauge("duologue_sessions_open", "Sessions that are open.", meters.live)
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"duologue_{name}", text, meters.counts[name])
        outcomes = CounterMetricFamily(
            "duologue_turns", "Turns by their outcome.", labels=["outcome"]
        )
        for name, count in sorted(meters.counts.items()):
            if name.startswith("turn:"):
                outcomes.add_metric([name.removeprefix("turn:")], count)
        yield outcomes
        lag = sorted(gauges.lag_ms())
        text = "Lateness of the 20 ms tick over its last 512 runs."
        family = GaugeMetricFamily("duologue_event_loop_lag_seconds", text, labels=["quantile"])
        for name, share in (("0.5", 0.5), ("0.95", 0.95), ("1", 1.0)):
            family.add_metric([name], lag[int(share * (len(lag) - 1))] / 1000 if lag else 0.0)
        yield family
        windows, skipped = gauges.windows()
        text = "Windows of 32 ms judged for speech."
        yield CounterMetricFamily("duologue_vad_windows", text, windows)
        text = "Windows with nothing in them, which the model did not see."
        yield CounterMetricFamily("duologue_vad_windows_hushed", text, skipped)
        text = "Streams taken up by the next engine of a chain."
        yield CounterMetricFamily("duologue_engine_fallbacks", text, gauges.fallbacks())
        text = "Streams that ended with an error, because no engine could take them up."
        yield CounterMetricFamily("duologue_engine_streams_broken", text, gauges.broken())
        yield from _of_engines(gauges.engines())
        for gauge in gauges.memory():
            names = [*gauge.values[0][0]] if gauge.values else []
            family = GaugeMetricFamily(gauge.name, gauge.text, labels=names)
            for labels, value in gauge.values:
                family.add_metric([labels[name] for name in names], value)
            yield family
        if gauges.streams is not None:
            yield from of_streams(gauges.streams())
        if gauges.store is not None:
            yield from of_store(gauges.store())

    def _observe(self, turn: Turn) -> None:
        self._meters.counts[f"turn:{turn.outcome}"] += 1
        for stage in STAGES:
            if stage in turn.marks:
                self._stages.labels(stage).observe(max(0.0, turn.marks[stage] / 1000))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def _of_engines(engines: Sequence[EngineState]) -> Iterator[Metric]:
    """A line for each engine and thing that is counted."""
    streams = GaugeMetricFamily("duologue_engine_streams", "Open streams.", labels=["engine"])
    for engine in engines:
        if engine.streams is not None:
            streams.add_metric([_label(engine)], engine.streams)
    yield streams
    for name, (kind, text, read) in _ENGINE_METRICS.items():
        family = kind(f"duologue_engine_{name}", text, labels=["engine"])
        for engine in engines:
            family.add_metric([_label(engine)], read(engine))
        yield family


def _label(engine: EngineState) -> str:
    return f"{engine.role}:{engine.name}"


_ENGINE_METRICS: dict[str, tuple[Any, str, Callable[[EngineState], float]]] = {
    "ready": (GaugeMetricFamily, "Loaded, and has run.", lambda e: e.state == "ready"),
    "resting": (GaugeMetricFamily, "Failed lately, and is passed over.", lambda e: e.resting),
    "lost": (CounterMetricFamily, "Streams that it broke off or hung on.", lambda e: e.lost),
    "restarts": (CounterMetricFamily, "Processes started again.", lambda e: e.restarts),
    "rung": (GaugeMetricFamily, "Steps down for want of memory.", lambda e: e.rung),
    "out_of_memory": (CounterMetricFamily, "Times memory ran out.", lambda e: e.out_of_memory),
    "load_seconds": (GaugeMetricFamily, "Load and warm-up.", lambda e: e.took_s or 0.0),
    "ram_bytes": (
        GaugeMetricFamily,
        "Resident memory that its load took.",
        lambda e: (e.ram_mib or 0) * 2**20,
    ),
}
