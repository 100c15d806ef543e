"""What a node says of itself: status, links, counters, readiness. For its gateway and its process.

Reads a running validator and changes nothing. How far the chain is: `node.hold`.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consensus.ids import hash_text, id_text, peer_text
from node.hold import horizon
from node.settings import Address

if TYPE_CHECKING:
    from node.validator import Validator

BEHIND_MAX: Final = 5  # heights behind the known tip at which a node is still ready
TIP_AHEAD_MS_MAX: Final = 10_000  # of the tip before this machine's clock; clocks differ by less


def caught_up(node: "Validator") -> bool:
    """Whether it is known that few heights are missing here, if any."""
    seen = horizon(node.core)
    return seen.sure and seen.behind <= BEHIND_MAX


class Links(NamedTuple):
    """`slots`: of peers that are linked, and own ones, out of `total`. `missing`: peers that the
    settings name and that are not linked, as id@host:port."""

    slots: int
    total: int
    missing: tuple[str, ...]

    @property
    def enough(self) -> bool:
        return 3 * self.slots > 2 * self.total


def links(node: "Validator") -> Links:
    """To how much of the chain there are links."""
    weights = node.core.engine.machine.standing.votes.weights
    linked = weights.get(node.peer, 0)
    linked += sum(weights.get(peer, 0) for peer in node.gossip.peers if peer != node.peer)
    missing = [peer for peer in node.options.peers if peer.peer not in node.gossip.peers]
    texts = [f"{peer_text(one.peer)}@{Address(one.host, one.port).text}" for one in missing]
    return Links(linked, sum(weights.values()), tuple(texts))


def tip_ahead_ms(node: "Validator") -> int:
    """How far the tip's time lies ahead of this machine's clock; 0 when it does not. Blocks wait
    until the clock has passed it, so one of the two is wrong."""
    ahead = node.core.engine.machine.tip.header.fields.time_ms - node.runtime.now().clock_ms
    return max(0, ahead)


def readiness(node: "Validator") -> tuple[bool, dict[str, bool]]:
    """Linked to more than two thirds of the slots, its own included; not behind; not halted; its
    clock not far behind the chain's."""
    conditions = {
        "linked": links(node).enough,
        "caught_up": caught_up(node),
        "running": not node.runtime.halted,
        "clock": tip_ahead_ms(node) <= TIP_AHEAD_MS_MAX,
    }
    return all(conditions.values()), conditions


def status(node: "Validator") -> dict[str, Any]:
    """What `/v1/status` shows; numbers of the tip unless said otherwise."""
    machine = node.core.engine.machine
    fields, standing = machine.tip.header.fields, machine.standing
    certificate = machine.tip.certificate
    snowball = standing.snowball
    seen = horizon(node.core)
    return {
        "name": node.options.name,
        "peer": peer_text(node.peer),
        "listen": Address(*where).text if (where := node.carrier.listening) else "",
        "chain": id_text(node.spec.id),
        "chain_name": node.spec.name,
        "height": fields.height,
        "known_height": seen.known,
        "catching_up": seen.behind > BEHIND_MAX,
        "block": id_text(machine.tip.header.id),
        "state_root": hash_text(fields.state_root),
        "time_ms": fields.time_ms,
        "tip_ahead_ms": tip_ahead_ms(node),
        "epoch": standing.epoch,
        "slots": machine.weight,
        "slots_occupied": standing.votes.occupied,
        "signatures": 0 if certificate is None else len(certificate.signatures),
        "deciding": {
            "height": standing.height,
            "round": standing.round,
            "preference": None
            if snowball is None or snowball.preference is None
            else id_text(snowball.preference),
            "streak": 0 if snowball is None else snowball.streak,
            "settled": standing.settled,
            "candidates": len(standing.candidates),
            "quiet": standing.clock_ms is None,
        },
        "settle_ms": node.runtime.settle_ms,
        "messages_total": node.messages_total,
        "pool": len(node.core.messages.messages),
        "pool_bytes": node.core.messages.size,
        "peers": len(node.network.peers()),
        "halted": node.runtime.halted,
    }


def peers(node: "Validator") -> list[dict[str, Any]]:
    """One row a link."""
    return [
        {
            "peer": peer_text(info.peer),
            "address": f"{info.host}:{info.port}",
            "outbound": info.outbound,
            "rtt_ms": info.rtt_ms,
            "score": info.score,
            "cause": info.cause,
            "sent_bytes": info.sent_bytes,
            "received_bytes": info.received_bytes,
            "dropped": info.dropped,
        }
        for info in node.network.peers()
    ]


def counters(node: "Validator") -> dict[str, int | float]:
    """Numbers for /metrics."""
    machine = node.core.engine.machine
    seen = horizon(node.core)
    return {
        "height": seen.height,
        "known_height": seen.known,
        "round": machine.standing.round,
        "tip_ahead_ms": tip_ahead_ms(node),
        "settle_ms": node.runtime.settle_ms or 0,
        "messages_total": node.messages_total,
        "slots": machine.weight,
        "peers": len(node.network.peers()),
        "pool_messages": len(node.core.messages.messages),
        "pool_bytes": node.core.messages.size,
        "events_total": node.runtime.events,
        "events_dropped_total": node.runtime.dropped,
        "signatures_verified_total": node.verifier.verified_count,
        "signed_total": node.signer.signed_count,
        "sign_refused_total": node.signer.refused_count,
        "hill_hashes_total": node.hill.hashed,
        "hill_facts_total": node.hill.found,
        "halted": int(bool(node.runtime.halted)),
        **{f"gossip_{topic}_total": n for topic, n in node.gossip.received.items()},
        **{f"refused_{cause}_total": n for cause, n in node.gossip.refused.items()},
        **{f"ignored_{cause}_total": n for cause, n in node.gossip.ignored.items()},
        "links_lost_total": node.gossip.lost,
        "links_banned_total": node.gossip.banned,
        "inbox_dropped_total": sum(node.inbox.dropped_total),
        "flood_dropped_total": node.gossip.flooded,
    }
