"""A cluster of simulated nodes on bad weather: loss, delay, partitions; what must hold of it."""

from collections.abc import Callable, Sequence

from consensus import proposers
from consensus.dice import Dice
from consensus.encoding import Value, encode
from consensus.events import LinkDown, LinkUp, MessagesReceived
from consensus.ids import Account, MessageId, Peer
from consensus.messages import Draft, Message, Reference, encode_data
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft
from consensus.tables import deal
from testnet.sim.ears import Ears
from testnet.sim.history import History
from testnet.sim.host import Host, World
from testnet.sim.keys import KeyedHash
from testnet.sim.relays import Relays
from testnet.sim.scenario import Machines, Weather
from testnet.sim.simulator import CLOCK_START_MS, Chance, Simulator
from testnet.sim.wires import CopyWires, Wires

__all__ = ["Cluster", "Weather", "small_parameters"]

BALANCE = 10**12
WAKE_S = 60.0  # within which starting hosts tell one another their tips


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
        machines: Machines | None = None,
        accounts: int = 4,
        consensus: str = "snowball",
    ) -> None:
        """`hill_nonces`: tries of a node an epoch. `late`: nodes without slots, the last ones.
        `consensus`: the kind of the chain."""
        self.consensus = consensus
        self.seed = seed
        self.dice = Dice(seed.to_bytes(32, "big"))
        self.machines = machines or Machines(hill_nonces=hill_nonces)
        self.simulator = Simulator(self.dice.child("simulator"))
        self.keys = KeyedHash()
        peers = [self.keys.new(f"{seed} peer {index}") for index in range(nodes + late)]
        self.accounts = [Account(self.keys.new(f"{seed} account {i}")) for i in range(accounts)]
        self.spec = self._spec(peers[:nodes], parameters or small_parameters(), agents)
        kind = Relays if self.machines.gossip == "relayed" else Wires
        self.wires = kind(self.simulator, self.dice.child("network"), weather or Weather())
        self.world = World(
            spec=self.spec,
            simulator=self.simulator,
            keys=self.keys,
            ears=Ears(self.keys, self.spec.id),
            chance=Chance(self.dice.child("disks")),
        )
        self.history = History(self.spec)
        self.liars: dict[Peer, None] = {}  # peers whose words are not judged: adversaries, copies
        self.hosts = {peer: self._host(peer, index) for index, peer in enumerate(peers)}
        self.nonces = 0

    def _host(self, peer: Peer, index: int) -> Host:
        dice = self.dice.child(f"host {index}")
        host = Host(self.world, peer, wires=self.wires, dice=dice, machines=self.machines)
        host.on_performed = self.history.record
        host.on_start = self.history.record_start
        self.wires.add(peer, host)
        return host

    def copy_of(self, peer: Peer) -> Host:
        """Another machine with a peer's key and a copy of its disk; not started. Protocol §7."""
        twin = Host(
            self.world,
            peer,
            wires=CopyWires(self.wires),
            dice=self.dice.child(f"copy of {list(self.hosts).index(peer)}"),
            machines=self.machines,
        )
        twin.disk = self.hosts[peer].disk.copy()
        twin.on_performed = self.history.record_copy
        self.liars[peer] = None
        self.wires.add_copy(peer, twin)
        return twin

    # ---- weather --------------------------------------------------------------------------------

    @property
    def weather(self) -> Weather:
        return self.wires.weather

    @property
    def cut(self) -> Callable[[Peer, Peer], bool]:
        """Whether a packet from the first to the second is lost."""
        return self.wires.cut

    @cut.setter
    def cut(self, cut: Callable[[Peer, Peer], bool]) -> None:
        self.wires.cut = cut

    @property
    def lose(self) -> Callable[[Peer, Peer, str, bytes], bool]:
        """Whether one record of gossip to one peer is lost."""
        return self.wires.lose

    @lose.setter
    def lose(self, lose: Callable[[Peer, Peer, str, bytes], bool]) -> None:
        self.wires.lose = lose

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
            consensus=self.consensus,
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
        self.wires.heal()

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        return self.simulator.run(self.simulator.now_ms + int(1000 * seconds), done)

    def wake(self, within_s: float = WAKE_S) -> None:
        """Until all hosts that are up know where the chain stands, so that each may sign."""
        hosts = self.hosts.values()
        awake = self.run(within_s, lambda: all(h.hold.is_open for h in hosts if h.up))
        assert awake, f"seed {self.seed}: not awake within {within_s} s"

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
