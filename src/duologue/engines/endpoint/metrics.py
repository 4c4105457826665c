"""What Prometheus scrapes of an engine server."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from duologue.core.capabilities import Capabilities, Role

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)

_COUNTERS = {
    "connections": "Clients that connected.",
    "opened": "Streams opened.",
    "refused": "Streams refused because all were taken, or the server goes down.",
    "failed": "Streams that ended because of an error of the engine.",
    "garbled": "Connections cut off because of what came over them.",
    "unauthorized": "Requests without the token.",
}


class Measured(Protocol):
    """The server, as the metrics see it."""

    role: Role
    name: str
    is_ready: bool
    streams: int

    @property
    def is_leaving(self) -> bool:
        """It takes no new streams."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What happened, and how often."""

    @property
    def connections(self) -> int:
        """Clients that are connected."""

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do, with all its streams."""


class Exposition:
    """The `/metrics` of one engine server: read at the moment of the scrape, and not kept twice."""

    def __init__(self, server: Measured) -> None:
        self._server = server
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._answers = Histogram(
            "duologue_engine_answer_seconds",
            "From a flush (stt) or a text (tts) to the engine's first answer.",
            ["engine"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    @property
    def _engine(self) -> str:
        return f"{self._server.role}:{self._server.name}"

    @property
    def _max_streams(self) -> int:
        return self._server.capabilities.max_streams if self._server.is_ready else 0

    def answered(self, seconds: float) -> None:
        """The engine took so long to answer."""
        self._answers.labels(self._engine).observe(max(0.0, seconds))

    def text(self) -> str:
        """The exposition."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        server = self._server
        gauges = {
            "streams": ("Open streams.", server.streams),
            "max_streams": ("Streams that there can be.", self._max_streams),
            "clients": ("Clients that are connected.", server.connections),
            "ready": ("1 if the engine is loaded and has run.", int(server.is_ready)),
            "leaving": ("1 if the server goes down.", int(server.is_leaving)),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"duologue_engine_{name}", text, labels=["engine"])
            gauge.add_metric([self._engine], value)
            yield gauge
        for name, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"duologue_engine_{name}", text, labels=["engine"])
            counter.add_metric([self._engine], server.counts.get(name, 0))
            yield counter
