"""Prometheus metrics of `gasmcast serve`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gasmcast.runtime.sinks.exposition import ExpositionPage, Sample
from gasmcast.serving.admission import Admission
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.served_models import ServedModel

__all__ = ["ServeMetrics"]


class ServeMetrics:
    """Counters of requests, and the page that shows them with the state of the engines."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()

    def count(self, model: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Args:
            model: a model of the server, or empty.
            status: HTTP status of the answer.
            seconds: time from the first byte of the request to its answer.
        """
        self._requests[model, status] += 1
        # Quick refusals would hide how long real answers take.
        if status == 200:
            self._seconds[model] += seconds  # type: ignore[assignment] # a Counter adds any number

    def page(
        self,
        models: Mapping[str, ServedModel],
        engines: Mapping[str, ServedEngines],
        admission: Admission,
    ) -> str:
        """Return the page in Prometheus' text format."""
        page = ExpositionPage()
        requests = []
        for (model, status), count in sorted(self._requests.items()):
            requests.append(Sample(count, {"model": model, "status": str(status)}))
        page.counter("gasmcast_serve_requests_total", "Requests by HTTP status.", requests)
        seconds = [Sample(value, {"model": model}) for model, value in self._seconds.items()]
        page.counter("gasmcast_serve_answer_seconds_total", "Seconds of answers.", seconds)
        page.gauge("gasmcast_serve_in_work", "Requests in work.", [Sample(admission.requests, {})])
        page.gauge("gasmcast_serve_bytes", "Bytes of their bodies.", [Sample(admission.bytes, {})])

        # The mean batch is rows by batches.
        rows, batches, waiting = [], [], []
        for bundle, engine in engines.items():
            for stage, batcher in engine.batchers.items():
                labels = {"bundle": bundle, "stage": stage}
                rows.append(Sample(batcher.rows, labels))
                batches.append(Sample(batcher.batches, labels))
                waiting.append(Sample(batcher.waiting, labels))
        page.counter("gasmcast_serve_rows_total", "Segments or windows computed.", rows)
        page.counter("gasmcast_serve_batches_total", "Batches computed.", batches)
        page.gauge("gasmcast_serve_waiting_rows", "Rows that wait for an engine.", waiting)

        sequences = []
        for name, served in models.items():
            sequences += [Sample(count, {"model": name}) for count in served.counts().values()]
        page.gauge("gasmcast_serve_sequences", "Sequences with a feature ring.", sequences)
        return page.text()
