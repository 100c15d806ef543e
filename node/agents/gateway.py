"""The gateway agent: HTTP/JSON, server-sent events, probes and metrics for users of a node.

Sees the node through `Face` alone, the chain through committed data alone. Listens on loopback
unless it has a token. Serves from the first second, also while the node is not ready.
"""

import asyncio
import logging
from typing import Final

from aiohttp import web

from consensus.effects import Commit, Refused
from node.agents.gateway_doors import Doors, bounded
from node.agents.gateway_events import EventHandlers
from node.agents.gateway_health import HealthHandlers
from node.agents.gateway_limits import BODY_BYTES_MAX, KEEPALIVE_S, STOP_S
from node.agents.gateway_messages import MessageHandlers, Outcomes
from node.agents.gateway_proofs import ProofHandlers
from node.agents.gateway_reads import ReadHandlers, package_version
from node.agents.gateway_replies import Load, answer, faults, guard
from node.errors import ConfigError, PortBusy
from node.execution.ports import Outcome
from node.openapi import document
from node.ports import Face
from node.schema import Names
from node.settings import Address
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.values import Value

log = logging.getLogger("apocryph.gateway")
BACKLOG: Final = 128


class GatewayAgent(Agent):
    """One per node. `url` is known once it has started."""

    def __init__(self, face: Face, *, host: str, port: int, token: str = "") -> None:
        self._face, self._token = face, token
        self._listen = Address(host, port)
        self.url = ""
        self.doors = Doors()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        """Listen. Raises PortBusy, ConfigError for an address that would need a token."""
        if not self._listen.loopback and not self._token:
            raise ConfigError(f"api.listen {self._listen.text} is not loopback: a token is needed")
        app = self._app()
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=STOP_S,
        )
        await runner.setup()
        assert runner.server is not None, "it is set up"
        loop, make = asyncio.get_running_loop(), bounded(self.doors, runner.server)
        try:
            server = await loop.create_server(
                make, self._listen.host, self._listen.port, backlog=BACKLOG
            )
        except OSError as error:
            await runner.cleanup()
            raise PortBusy(f"the API cannot listen on {self._listen.text}: {error}") from error
        self._runner, self._server = runner, server
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{Address(host, port).text}"
        log.info("the API listens on %s", self.url)

    @on("Stop")
    async def stop(self, context: Context, argument: Value) -> None:
        """Answer who waits, let readers of events go, close."""
        runner, self._runner = self._runner, None
        if runner is not None and self._server is not None:
            self._server.close()
            self._outcomes.wake_all()
            self._events.stop()
            await asyncio.sleep(0)
            await runner.cleanup()

    def _app(self) -> web.Application:
        face, names = self._face, Names(self._face.spec)
        self._outcomes, self._load = Outcomes(), Load(self.doors)
        self._events = EventHandlers(face, names)
        self._messages = MessageHandlers(face, names, self._outcomes)
        parts = (
            ReadHandlers(face, names, self._events),
            self._messages,
            self._events,
            ProofHandlers(face),
            HealthHandlers(face, self.counters),
        )
        middlewares = [self._load.middleware(), guard(self._token), faults]
        app = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES_MAX)
        for part in parts:
            app.add_routes(part.routes())
        app.add_routes([web.get("/openapi.json", self._openapi)])
        face.listen(self._committed, self._refused)
        return app

    def _committed(self, effect: Commit, outcome: Outcome) -> None:
        self._outcomes.committed(effect, outcome)
        self._events.advanced()

    def _refused(self, effect: Refused) -> None:
        self._outcomes.refused(effect)

    async def _openapi(self, request: web.Request) -> web.Response:
        return answer(document(package_version()))

    def routes(self) -> set[tuple[str, str]]:
        """(method, path) of all that is answered."""
        assert self._runner is not None, "it has started"
        resources = self._runner.app.router.routes()
        found = [(route.method, route.resource) for route in resources]
        return {(m.lower(), r.canonical) for m, r in found if r is not None and m != "HEAD"}

    def counters(self) -> dict[str, int | float]:
        """Numbers of the gateway itself, for /metrics."""
        return {
            "api_requests_total": self._load.total,
            "api_requests_refused_total": self._load.refused,
            "api_requests_open": self._load.open,
            "api_messages_accepted_total": self._messages.accepted,
            "api_messages_refused_total": self._messages.refused,
            "api_connections": self.doors.open,
            "api_connections_refused_total": self.doors.refused,
            "api_connections_cut_total": self.doors.cut,
            "api_waiting": self._outcomes.waiting,
            "api_event_clients": self._events.clients,
            "api_event_clients_lagged_total": self._events.lagged,
        }
