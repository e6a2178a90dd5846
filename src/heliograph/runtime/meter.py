"""Prometheus collectors made from the one list of names in ``measure/metrics.py``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from heliograph.measure.metrics import COUNTER, GAUGE, LEVELS, METRICS, TALLY, Metric


class Meter:
    """Every metric of one engine, in its own registry, by the name without the ``heliograph_`` prefix.

    Children of labelled metrics are made once and kept: looking them up by label costs more than counting.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._metrics = {name.removeprefix("heliograph_"): self._make(name, metric) for name, metric in METRICS.items()}
        self._children: dict[tuple[str, str], Any] = {}

    def _make(self, name: str, metric: Metric) -> Any:
        if metric.kind == COUNTER:
            return Counter(name, metric.help, metric.labels, registry=self.registry)
        if metric.kind in (TALLY, LEVELS):
            return _Tally(name, metric, self.registry)
        if metric.kind == GAUGE:
            return Gauge(name, metric.help, metric.labels, registry=self.registry)
        return Histogram(name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets)

    def count(self, name: str, label: str = "", by: float = 1) -> None:
        self._child(name, label).inc(by)

    def set(self, name: str, value: float, label: str = "") -> None:
        self._child(name, label).set(value)

    def observe(self, name: str, value: float) -> None:
        self._metrics[name].observe(value)

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when somebody asks."""
        self._metrics[name].set_function(read)

    def watch_tally(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Counters or gauges kept elsewhere: label -> value now."""
        self._metrics[name].read = read

    def watch_many(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """A gauge with one label, all of whose values are read when somebody asks."""
        metric = self._metrics[name]
        for label in read():
            metric.labels(label).set_function(lambda label=label: read().get(label, 0))

    def _child(self, name: str, label: str) -> Any:
        child = self._children.get((name, label))
        if child is None:
            metric = self._metrics[name]
            child = self._children[name, label] = metric.labels(label) if label else metric
        return child


class _Tally:
    """A collector for counters or gauges that somebody else keeps."""

    def __init__(self, name: str, metric: Metric, registry: CollectorRegistry) -> None:
        self.read: Callable[[], Mapping[str, float]] = dict
        self._name, self._metric = name, metric
        registry.register(self)  # a collector by its shape

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        family = CounterMetricFamily if self._metric.kind == TALLY else GaugeMetricFamily
        yield family(self._name, self._metric.help, labels=self._metric.labels)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        (family,) = self.describe()
        for label, count in self.read().items():
            family.add_metric([label], count)
        yield family
