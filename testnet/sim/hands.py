"""What a simulated node does: effects performed in order, durable ones on one writer, blocks on one
executor, as node.runtime does it. Outcomes come back as events, after simulated time.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from consensus.effects import (
    Ask,
    Blame,
    Build,
    Commit,
    Effect,
    Execute,
    Gossip,
    Halt,
    Persist,
    Publish,
    Refused,
    Remember,
    Reply,
    Reveal,
    Sign,
    Verdict,
    WakeAt,
)
from consensus.errors import ConsensusError, SignRefused
from consensus.events import (
    BuildFaulted,
    Committed,
    Event,
    ExecutionFaulted,
    Persisted,
    Revealed,
    Signed,
    Woke,
)
from consensus.ids import Id
from consensus.messages import Message
from consensus.signatures import coverage
from node.errors import NodeError
from node.execution.ports import HostFault
from testnet.sim.disk import Crash
from testnet.sim.simulator import Lane

if TYPE_CHECKING:
    from testnet.sim.host import Host

STUCK_MS: Final = 5_000  # after a host fault, as in node.runtime
SIGN_OPERATIONS: Final = 6  # of one save of the sign record, and one more: not torn at all
SIMULATED: Final = "simulated"
REPORTS_MAX: Final = 4_096  # blames and refusals kept for the checks
_US: Final = 1_000


class Job:
    """Something durable on its way: `write` on the writer, then `done(result)` on the loop."""

    __slots__ = ("done", "effect", "of_file", "write")

    def __init__(
        self,
        effect: Effect,
        write: Callable[[], Any],
        done: Callable[[Any], None],
        *,
        of_file: bool,
    ) -> None:
        self.effect, self.write, self.done, self.of_file = effect, write, done, of_file


class Hands:
    """Of one life of a host."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.writer, self.executor = Lane(host.later), Lane(host.later)
        self._writing: Job | None = None

    def perform(self, effect: Effect) -> None:  # one line an effect
        host = self.host
        match effect:
            case Ask():
                host.talk.ask(effect)
            case Reply():
                host.talk.reply(effect)
            case Gossip():
                host.talk.gossip(effect)
            case Verdict():
                host.talk.verdicts(effect)
            case WakeAt():
                self._wake_at(effect.monotonic_ms)
            case Publish():
                pass
            case Sign():
                self._order(effect, lambda: self._sign(effect), self._signed, of_file=True)
                return
            case Persist():
                self._order(effect, lambda: self._persist(effect), host.take, of_file=False)
                return
            case Remember():
                self._order(effect, lambda: host.signer.remember(effect.record), _nothing)
                return
            case Execute():
                self._execute(effect)
            case Build():
                self._build(effect)
            case Commit():
                self._commit(effect)
                return
            case Reveal():
                link = host.signer.reveal(effect.epoch, effect.number)
                event = Revealed(effect.epoch, effect.number, link)
                host.later(0, lambda: host.take(event))
            case Blame():
                host.report_blame(effect.peer, effect.cause)
            case Refused():
                host.refused.append((effect.message, effect.code))
                del host.refused[:-REPORTS_MAX]
            case Halt():
                host.halted = effect.cause
        host.on_performed(host, effect)

    def _wake_at(self, monotonic_ms: int) -> None:
        host = self.host
        host.wake_ms = monotonic_ms

        def wake() -> None:
            if host.wake_ms == monotonic_ms:
                host.take(Woke())

        host.later(monotonic_ms - host.simulator.now().monotonic_ms, wake)

    # ---- the writer -----------------------------------------------------------------------------

    def _order(
        self,
        effect: Effect,
        write: Callable[[], Any],
        done: Callable[[Any], None],
        *,
        of_file: bool = True,
    ) -> None:
        job = Job(effect, write, done, of_file=of_file)

        def takes() -> int:
            self._writing = job
            return self.host.disk_ms

        self.writer.order(takes, lambda: self._finish(job))

    def _finish(self, job: Job) -> None:
        """It is durable now; a failing write ends the process (node.writer)."""
        host, life = self.host, self.host.life
        self._writing = None
        try:
            result = job.write()
        except NodeError as error:
            host.stop(error.code)
            return
        host.on_performed(host, job.effect)
        if host.life == life:  # crashed when durable and not heard of
            job.done(result)

    def tear(self) -> None:
        """The power goes: what was being written is there, or not, or (of the file) in part."""
        self.writer.close()
        self.executor.close()
        host, job = self.host, self._writing
        below, signs = host.world.chance.below, host.disk.signs
        signs.stop_after(below(SIGN_OPERATIONS))
        try:
            if job is not None and (job.of_file or below(2)):
                job.write()
        except (Crash, ConsensusError, NodeError):
            pass
        signs.crash(below)

    def _sign(self, effect: Sign) -> Signed | None:
        host = self.host
        place = (effect.height, effect.round, effect.phase)
        covered = coverage(effect.kind, host.spec.id, effect.unsigned)
        try:
            signature = host.signer.sign(effect.record, place, covered)
        except SignRefused:
            host.sign_refused += 1
            return None
        return Signed(effect.kind, effect.height, effect.round, effect.unsigned, signature)

    def _signed(self, event: Signed | None) -> None:
        if event is not None:
            self.host.take(event)

    def _persist(self, effect: Persist) -> Persisted:
        chain = self.host.chain
        if effect.block.height > chain.height:
            bodies = {bytes(message.id): message.raw for message in effect.messages}
            header, body = effect.block.header.raw, effect.block.body.raw
            chain.save_candidate(header=header, body=body, bodies=bodies)
        return Persisted(effect.block.id)

    # ---- the executor ---------------------------------------------------------------------------

    def _run(self, count: int, run: Callable[[], Event], faulted: Event, fault: bool) -> None:
        """One block; where the host fails, the core hears of it after a pause."""
        host = self.host

        def work() -> None:
            try:
                event = None if fault else run()
            except HostFault:
                event = None
            if event is None:
                host.later(STUCK_MS, lambda: host.take(faulted))
            else:
                host.take(event)

        self.executor.order(lambda: host.execute_ms + host.message_us * count // _US, work)

    def _culprits(self, messages: Sequence[Message]) -> tuple[Id, ...]:
        """Messages that fault by themselves on this host; none where it fails at everything."""
        if self.host.faulting(()):
            return ()
        return tuple([Id(message.id) for message in messages if self.host.faulting((message,))])

    def _execute(self, effect: Execute) -> None:
        line = self.host.line
        assert line is not None, "a host that is up"
        block, messages = effect.block, effect.messages
        fault, culprits = self._fault(messages, block.header.fields.skipped)
        faulted = ExecutionFaulted(block.id, SIMULATED, culprits)
        self._run(len(messages), lambda: line.execute(block, messages), faulted, fault)

    def _build(self, effect: Build) -> None:
        line = self.host.line
        assert line is not None, "a host that is up"
        fault, culprits = self._fault(effect.messages, effect.skip)
        faulted = BuildFaulted(effect.height, effect.round, SIMULATED, culprits)
        self._run(len(effect.messages), lambda: line.build(effect), faulted, fault)

    def _fault(
        self, messages: Sequence[Message], skipped: Sequence[Id]
    ) -> tuple[bool, tuple[Id, ...]]:
        """Whether this host fails on what would run, and the message on which, if it is one."""
        faulting = self.host.faulting
        left_out: dict[bytes, None] = dict.fromkeys(skipped)
        run = [message for message in messages if message.id not in left_out]
        if not faulting(run):
            return False, ()
        if faulting(()):
            return True, ()
        return True, tuple([Id(message.id) for message in run if faulting((message,))][:1])

    def _commit(self, effect: Commit) -> None:
        """Write the height while no block runs on the state that it moves."""
        host, line = self.host, self.host.line
        assert line is not None, "a host that is up"
        outcome = line.outcome(effect.block.id)
        block, certificate, chain = effect.block, effect.certificate, host.chain
        raw = b"" if certificate is None else certificate.raw

        def write() -> None:
            chain.commit(
                height=block.height,
                header=block.header.raw,
                body=block.body.raw,
                certificate=raw,
                bodies={bytes(message.id): message.raw for message in effect.messages},
                changes=outcome.changes,
                receipts=outcome.receipts,
            )
            host.disk.add(block, certificate, effect.messages)

        def done(result: None) -> None:
            line.advance(block.id, host.state)
            self.executor.release()
            try:
                if host.careful:
                    host.recall.check(certificate, block.body)
            except NodeError as error:
                host.stop(error.code)
                return
            host.take(Committed(block.height, block.id))

        self.executor.hold(lambda: self._order(effect, write, done, of_file=False))


def _nothing(result: object) -> None:
    return None
