"""`/livez`, `/readyz`, `/metrics`: for probes and Prometheus. Numbers come from the node's face."""

from collections.abc import Callable, Iterable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from node.agents.gateway_replies import answer
from node.ports import Face

Numbers = Mapping[str, int | float]
PREFIX = "apocryph_"


class FaceCollector(Collector):
    """Counters of the node and its gateway as metrics, read when they are asked for."""

    def __init__(self, sources: Iterable[Callable[[], Numbers]]) -> None:
        self._sources = tuple(sources)

    def collect(self) -> Iterable[Metric]:
        for source in self._sources:
            for name, value in source().items():
                yield _metric(name, float(value))


def _metric(name: str, value: float) -> Metric:
    name = PREFIX + "".join([c if c.isalnum() else "_" for c in name])
    help_text = name.removeprefix(PREFIX).removesuffix("_total").replace("_", " ")
    if name.endswith("_total"):
        return CounterMetricFamily(name, help_text, value=value)
    return GaugeMetricFamily(name, help_text, value=value)


class HealthHandlers:
    """Probes and metrics."""

    def __init__(self, face: Face, own: Callable[[], Numbers]) -> None:
        self._face = face
        self._registry = CollectorRegistry()
        self._registry.register(FaceCollector((face.counters, own)))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def livez(self, request: web.Request) -> web.Response:
        """200 while the event loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when ready, else 503; `?verbose` names each condition."""
        ready, conditions = self._face.ready
        status = 200 if ready else 503
        if "verbose" in request.query:
            return answer({"ready": ready, "conditions": conditions}, status)
        return web.Response(text="ok\n" if ready else "not ready\n", status=status)

    async def metrics(self, request: web.Request) -> web.Response:
        raw = generate_latest(self._registry)
        return web.Response(body=raw, headers={"Content-Type": CONTENT_TYPE_LATEST})
