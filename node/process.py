"""One node as a process: locks, validator, fabric server, signals; from its folder to a clean end.

Prints nothing: `tell` is told of listening, ready and stopped. Knows no command line.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any, Final

from consensus.ids import checkpoint_from_text, id_text, peer_text
from consensus.spec import ChainSpec
from network.errors import TransportError
from network.ports import PeerAddress
from node.config import FILE_NAME, Config
from node.errors import ConfigError, KeyKind, PortBusy, StoreCorrupt, StoreFull
from node.folder import read_spec, remove_endpoints, write_endpoints
from node.hold import horizon
from node.keystore import PEER, LoadedKey, entry_of, load, lock_key
from node.listeners import busy, check_free
from node.lock import FileLock
from node.nofile import raise_limit
from node.settings import Address
from node.telling import BEHIND_MAX, links
from node.validator import NodeOptions, Validator
from perper_core import errors as fabric_errors
from perper_core.wire.access import READ_ONLY, Access
from perper_core.wire.server import FabricServer

log = logging.getLogger("apocryph.process")

FABRIC_STOP_S: Final = 0.2
STOP_S: Final = 5.0  # from the signal to the end, whatever hangs
AT_ONCE: Final = 130  # exit code after a second signal, or when it takes longer than STOP_S
PROGRESS_S: Final = 2.0  # between two words about what keeps it from being ready
LISTENS: Final = ("network.listen", "api.listen", "fabric.listen")
Tell = Callable[[dict[str, object]], None]
LISTENING, READY, STOPPED = "listening", "ready", "stopped"
CATCHING_UP, WAITING = "catching_up", "waiting"


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started, beside its folder's settings."""

    config: Config
    password: Callable[[], str] | None = None
    testnet_keys: bool = False
    trace: Callable[[str, str, str], None] | None = None


def run(start: Start, tell: Tell) -> None:
    """Run the node until a signal. Raises NodeError; whatever was opened is closed then."""
    config = start.config
    raise_limit()
    with ExitStack() as held:
        held.enter_context(FileLock(config.lock_path, f"the folder {config.folder}"))
        spec = read_spec(config.spec_path)
        if entry_of(config.key_path).kind != PEER:  # before anybody is asked for its password
            raise KeyKind(f"{config.key_path} is the key of an account; a node needs a peer's")
        key = load(config.key_path, start.password, allow_testnet=start.testnet_keys)
        held.enter_context(lock_key(key.public))
        process = _Process(start, spec, key)
        held.callback(process.rest)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            try:
                runner.run(process.run(tell))
            except fabric_errors.Corrupt as error:
                raise StoreCorrupt(f"{config.fabric_path}: {error}") from error
            except fabric_errors.Exhausted as error:
                if "path" not in error.details:  # another bound than that of the disk
                    raise
                raise StoreFull(f"{config.fabric_path}: {error}") from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # where it does not build, the standard loop does the same, slower
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def options_of(start: Start, spec: ChainSpec, key: LoadedKey) -> NodeOptions:
    """The validator's options from the settings. Raises ConfigError for an unusable token."""
    config = start.config
    network, api = config.network, config.api
    peers = tuple([PeerAddress(peer.peer, peer.host, peer.port) for peer in network.peers])
    return NodeOptions(
        folder=config.folder,
        spec=spec,
        secret=key.secret,
        host=network.listen.host,
        port=network.listen.port,
        peers=peers,
        api_host=api.listen.host,
        api_port=api.listen.port,
        api_token=_token(config),
        mining=config.node.mining,
        journal=config.journal.keep,
        journal_segment_bytes=config.journal.segment_mib * 1024 * 1024,
        journal_segments=config.journal.segments,
        keep_heights=config.fabric.keep_heights,
        trace=start.trace,
        name=config.node.name or key.name,
        checkpoint=checkpoint_from_text(trusted) if (trusted := config.node.checkpoint) else None,
        continues=config.path(config.node.continues) if config.node.continues else None,
    )


def _token(config: Config) -> str:
    if not config.api.token_file:
        return ""
    path = config.path(config.api.token_file)
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others can read this token", hint=f"chmod 600 {path}")
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"api.token_file {path}: {error}") from error
    if len(token) < 16:
        raise ConfigError(f"api.token_file {path}: a token of less than 16 characters")
    return token


def _end_late() -> None:
    log.error("not stopped in %g s: ended at once; what was committed is on disk", STOP_S)
    os._exit(AT_ONCE)


class _Process:
    """The running parts. `run` starts them, waits, and stops them in the reverse order."""

    def __init__(self, start: Start, spec: ChainSpec, key: LoadedKey) -> None:
        self._config = start.config
        self._validator = Validator(options_of(start, spec, key))
        self._server: FabricServer | None = None
        self._stopping = asyncio.Event()
        # A thread, because the loop, or one that it waits for, may be what does not end.
        self._late = threading.Timer(STOP_S, _end_late)
        self._late.daemon = True

    async def run(self, tell: Tell) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        validator = self._validator
        try:
            if await self._opened():
                place = self._endpoints()
                write_endpoints(self._config.folder, place)
                tell({"event": LISTENING, **place, "height": validator.chain.height})
                await self._until_stopped(tell)
        except BaseException:
            try:
                await self._close()
            except Exception:  # what stopped it is what its user has to hear
                log.exception("while it was stopped for another reason")
            raise
        await self._close()
        height = validator.chain.height if hasattr(validator, "chain") else None
        tell({"event": STOPPED, "name": self._name, "height": height})

    async def _close(self) -> None:
        async with AsyncExitStack() as ends:
            ends.push_async_callback(self._validator.stop)
            if self._server is not None:
                ends.push_async_callback(self._server.stop, grace_s=FABRIC_STOP_S)
            ends.callback(remove_endpoints, self._config.folder)

    async def _opened(self) -> bool:
        """False when somebody asked for its end before it was open."""
        opening = asyncio.ensure_future(self._open())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            return not self._stopping.is_set()
        finally:
            opening.cancel()
            stopping.cancel()
            await asyncio.gather(opening, stopping, return_exceptions=True)

    @property
    def _name(self) -> str:
        return self._validator.options.name

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            os._exit(AT_ONCE)  # asked twice: the stores survive a crash at any moment
        self._stopping.set()
        self._late.start()

    def rest(self) -> None:
        """It has ended, with its loop and threads."""
        self._late.cancel()

    async def _open(self) -> None:
        config = self._config
        file = str(config.folder / FILE_NAME)
        for setting in LISTENS:  # before anything is opened or dialled
            check_free(setting, config.value(setting), where=file)
        try:
            await self._validator.start()
        except TransportError as error:
            raise busy("network.listen", config.network.listen, error, where=file) from error
        except PortBusy as error:
            raise busy("api.listen", config.api.listen, error, where=file) from error
        address = config.fabric.listen
        # Readers of streams only: other processes get no right to write or to call.
        self._server = FabricServer(self._validator.fabric, access=Access(open_rights=READ_ONLY))
        try:
            await self._server.start(address.text)
        except fabric_errors.Conflict as error:
            raise busy("fabric.listen", address, error, where=file) from error
        except fabric_errors.Invalid as error:
            raise ConfigError(f"fabric.listen {address.text}: {error}") from error

    def _endpoints(self) -> dict[str, object]:
        validator = self._validator
        assert self._server is not None, "opened before"
        host, port = validator.carrier.listening or ("", 0)
        return {
            "pid": os.getpid(),
            "name": self._name,
            "peer": peer_text(validator.peer),
            "chain": id_text(validator.chain_id),
            "api": validator.gateway.url,
            "fabric": self._server.address,
            "listen": Address(host, port).text,
        }

    async def _until_stopped(self, tell: Tell) -> None:
        """Until a signal; raises what crashed an agent."""
        running = asyncio.ensure_future(self._validator.run())
        stopping = asyncio.ensure_future(self._stopping.wait())
        ready = asyncio.ensure_future(self._when_ready(tell))
        tasks: list[asyncio.Future[Any]] = [running, stopping, ready]
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _when_ready(self, tell: Tell) -> None:
        validator = self._validator
        becoming = asyncio.ensure_future(validator.when_ready())
        told: dict[str, object] = {}
        try:
            while not becoming.done():
                await asyncio.wait([becoming], timeout=PROGRESS_S)
                found = self._unready()
                if not becoming.done() and found != told:
                    tell(found)
                told = found
        finally:
            becoming.cancel()
        tell({"event": READY, "name": self._name, "height": validator.chain.height})

    def _unready(self) -> dict[str, object]:
        """What keeps it from being ready: heights, or peers."""
        seen, linked = horizon(self._validator.core), links(self._validator)
        if seen.behind > BEHIND_MAX:
            progress = {"name": self._name, "height": seen.height, "of": seen.known}
            return {"event": CATCHING_UP, **progress}
        return {
            "event": WAITING,
            "name": self._name,
            "slots_linked": linked.slots,
            "slots": linked.total,
            "enough": linked.enough,
            "missing": list(linked.missing),
            "clock": self._validator.ready[1]["clock"],
        }
