"""A cluster of simulated nodes on bad weather: loss, delay, partitions; what must hold of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus import proposers
from consensus.dice import Dice
from consensus.effects import Ask
from consensus.encoding import Value, encode
from consensus.events import LinkDown, LinkUp, MessagesReceived
from consensus.ids import Account, MessageId, Peer
from consensus.messages import Draft, Message, Reference, encode_data
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft
from consensus.tables import deal
from testnet.sim.history import History
from testnet.sim.host import Host, KeyedHash
from testnet.sim.simulator import CLOCK_START_MS, Simulator

BALANCE = 10**12


@dataclass(slots=True)
class Weather:
    """Of every link; loss in percent."""

    loss: int = 0
    delay_ms: int = 5
    jitter_ms: int = 5
    duplicate: int = 0


class Cluster:
    """Nodes, accounts, and a network between them, all decided by `seed`."""

    def __init__(
        self,
        *,
        nodes: int,
        seed: int,
        parameters: Parameters | None = None,
        weather: Weather | None = None,
        agents: tuple[tuple[str, str, bytes], ...] = (),
        hill_nonces: int = 0,
        late: int = 0,
    ) -> None:
        """`hill_nonces`: tries of a node an epoch. `late`: nodes without slots, the last ones."""
        self.seed = seed
        self.dice = Dice(seed.to_bytes(32, "big"))
        self.weather = weather or Weather()
        self.simulator = Simulator(self.dice.child("simulator"))
        self.network = self.dice.child("network")
        self.keys = KeyedHash()
        peers = [self.keys.new(f"{seed} peer {index}") for index in range(nodes + late)]
        self.accounts = [Account(self.keys.new(f"{seed} account {i}")) for i in range(4)]
        self.spec = self._spec(peers[:nodes], parameters or small_parameters(), agents)
        self.cut: Callable[[Peer, Peer], bool] = lambda a, b: False
        self.lose: Callable[[Peer, Peer, str, bytes], bool] = lambda a, b, topic, record: False
        self.hosts = {
            peer: Host(
                self.spec,
                peer,
                simulator=self.simulator,
                keys=self.keys,
                wires=self,
                dice=self.dice.child(f"host {index}"),
                hill_nonces=hill_nonces,
            )
            for index, peer in enumerate(peers)
        }
        self.nonces = 0
        self.history = History(self.spec)
        for host in self.hosts.values():
            host.on_performed = self.history.record
            host.on_start = self.history.record_start

    def _spec(
        self,
        peers: list[Peer],
        parameters: Parameters,
        agents: tuple[tuple[str, str, bytes], ...],
    ) -> ChainSpec:
        balances = [(account, BALANCE) for account in self.accounts]
        draft = SpecDraft(
            name="sim",
            parameters=parameters,
            genesis_time_ms=CLOCK_START_MS - 1_000,
            nonce=bytes(16),
            genesis_agents=(("token", "native:token/1", encode({})), *agents),
            genesis_balances=tuple(balances),
        )
        commitments = {
            peer: proposers.hash_chain(
                proposers.hash_chain_seed(self.keys.secrets[peer], draft.seed, 0),
                draft.seed,
                peer,
                parameters.epoch_blocks + 1,
            )[0]
            for peer in peers
        }
        owners = deal(parameters.slots, peers)
        return ChainSpec.of(draft, [(owner, commitments[owner]) for owner in owners])

    # ---- driving --------------------------------------------------------------------------------

    def start(self) -> None:
        """All hosts that own slots; the late ones by `restart`."""
        owners = self.spec.genesis_table().weights
        for peer in owners:
            self.hosts[peer].start()
        for a in owners:
            for b in owners:
                if a != b:
                    self.hosts[a].take(LinkUp(b))

    def restart(self, peer: Peer) -> None:
        """Start a crashed host again; links come up on both sides."""
        self.hosts[peer].start()
        for other in self.hosts:
            if other != peer and self.hosts[other].up:
                self.hosts[other].take(LinkUp(peer))
                self.hosts[peer].take(LinkUp(other))

    def crash(self, peer: Peer) -> None:
        self.hosts[peer].crash()
        for other in self.hosts.values():
            other.take(LinkDown(peer))

    def isolate(self, *groups: Sequence[Peer]) -> None:
        """Only peers of one group reach each other, until `heal`."""
        place = {peer: index for index, group in enumerate(groups) for peer in group}
        self.cut = lambda a, b: place.get(a) != place.get(b)

    def heal(self) -> None:
        self.cut = lambda a, b: False
        self.lose = lambda a, b, topic, record: False

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        return self.simulator.run(self.simulator.now_ms + int(1000 * seconds), done)

    def reached(self, height: int) -> Callable[[], bool]:
        """Whether all hosts that are up hold that height."""
        return lambda: all(len(h.disk.chain) >= height for h in self.hosts.values() if h.up)

    def transfer(self, sender: int, receiver: int, amount: int) -> Message:
        """A signed transfer, valid from the height that the first host decides."""
        fields: dict[str, Value] = {"to": bytes(self.accounts[receiver]), "amount": amount}
        return self.message(sender, "token", "Transfer", fields)

    def message(
        self,
        sender: int,
        agent: str,
        kind: str,
        fields: dict[str, Value],
        *,
        gas: int = 1_000,
        pay: int = 0,
        after: MessageId | None = None,
    ) -> Message:
        """A signed message of an account to a genesis agent."""
        self.nonces += 1
        to = self.spec.agent_named(agent)
        assert to is not None, "an agent of the genesis"
        height = max(len(host.disk.chain) for host in self.hosts.values())
        draft = Draft(
            self.spec.id,
            self.accounts[sender],
            Reference(self.spec.id, to, None),
            encode_data(kind, fields),
            self.nonces.to_bytes(16, "big"),
            height + 100,
            gas,
            pay,
            after,
        )
        return Message.decode(draft.signed(self.keys.sign(draft.sender, draft.to_sign())))

    def submit(self, host: Host, message: Message) -> MessageId:
        host.take(MessagesReceived(0, (message,), None))
        return message.id

    # ---- testnet.sim.host.Wires -----------------------------------------------------------------

    def _carry(self, source: Peer, target: Peer, action: Callable[[], None]) -> None:
        """One packet: lost, late, doubled, or cut off."""
        weather = self.weather
        if self.cut(source, target) or self.network.uint(100) < weather.loss:
            return
        copies = 2 if self.network.uint(100) < weather.duplicate else 1
        for _ in range(copies):
            delay = weather.delay_ms + self.network.uint(weather.jitter_ms + 1)
            self.simulator.after(delay, action)

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        for peer, host in self.hosts.items():
            if peer != source and not self.lose(source, peer, topic, record):
                self._carry(source, peer, self._hear(host, topic, record, source))

    def _hear(self, host: Host, topic: str, record: bytes, source: Peer) -> Callable[[], None]:
        return lambda: host.hear(topic, record, source) if host.up else None

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None:
        host = self.hosts[target]

        def reply(raw: bytes) -> None:
            self._carry(target, source, lambda: done(raw))

        def arrive() -> None:
            host.serve(ask.proto, ask.data, source, reply)

        self._carry(source, target, arrive)

    # ---- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        """Agreement: one block a height, so equal roots; no broken word; nobody halted."""
        which = f"seed {self.seed}"
        assert not self.history.broken, f"{which}: {self.history.broken[0]}"
        for host in self.hosts.values():
            for height, (block, _, _) in enumerate(host.disk.chain, 1):
                assert block.id == self.history.certified[height], f"{which}: two certified blocks"
            if host.line is not None and not host.halted:
                tip = host.line.tip
                root = tip.header.fields.state_root
                assert tip.map.root == root, f"{which}: a state of another root"
            assert not host.halted, f"{which}: {host.halted}"

    def blames(self) -> list[tuple[Peer, str]]:
        return [blame for host in self.hosts.values() for blame in host.blames]


def small_parameters(**overrides: int) -> Parameters:
    """Few slots and short epochs: the same rules, sooner."""
    chosen = {"slots": 60, "epoch_blocks": 16, "claim_close": 4, **overrides}
    return Parameters.local(**chosen)
