"""What the driver believes of a validator: only what certificates prove, from the spec alone.

Follows headers of each validator's API, checks every certificate under the table of its epoch, and
compares the blocks of all. Executes nothing and trusts no answer.
"""

import asyncio
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, NamedTuple

from consensus.block import Header
from consensus.certificates import Certificate
from consensus.errors import ConsensusError, InvalidProof
from consensus.ids import PEER_TYPE, Height, Peer, hash_text, id_text, key_from_text
from consensus.light import Certified, Tip, Watch, follow, skip
from consensus.spec import ChainSpec
from consensus.tables import Table
from node.errors import ProofRefused, Unreachable
from node.verifier import SodiumVerifier
from testnet.folder import Member
from testnet.limits import BLOCKS_PAGE
from testnet.probe import get, told


class Seen(NamedTuple):
    """Raw records of one height, as a validator gave them."""

    block: Certified
    next_table: bytes | None


class Witness:
    """Checks validators of one chain. Tables that are proven once are kept."""

    def __init__(self, spec: ChainSpec) -> None:
        self._spec = spec
        self._verifier = SodiumVerifier()
        self._tables: dict[int, Table] = {0: spec.genesis_table()}
        self._watch = Watch()

    def close(self) -> None:
        self._verifier.close()

    async def row(self, node: Member, height: int, *, certificates: int) -> dict[str, Any]:
        """What is certified at `height` according to a validator, its newest `certificates`
        checked. Raises ProofRefused naming the validator, Unreachable.
        """
        try:
            header, table, count = await self._check(node.api, height, certificates)
        except (ConsensusError, ValueError, KeyError, TypeError) as error:
            raise ProofRefused(f"{node.name}: {error}") from error
        peer = Peer(key_from_text(node.peer, PEER_TYPE))
        return {
            "name": node.name,
            "height": int(header.height),
            "block": id_text(header.id),
            "state_root": hash_text(header.fields.state_root),
            "slots": table.weights.get(peer, 0),
            "certificates_verified": count,
        }

    async def rows(
        self, nodes: Sequence[Member], height: int, *, certificates: int
    ) -> list[dict[str, Any]]:
        """All validators at one height. Raises ProofRefused at a second block of a height."""
        waits = [self.row(node, height, certificates=certificates) for node in nodes]
        return list(await asyncio.gather(*waits))

    async def _check(self, api: str, height: int, count: int) -> tuple[Header, Table, int]:
        first = max(1, height - count + 1)
        table = await self._table(api, first)
        at, tip = first, Tip(Height(first - 1), None, table)
        while True:
            for seen in await fetch(api, at, min(BLOCKS_PAGE, height - at + 1)):
                table = tip.table
                tip = follow(
                    self._spec, tip, seen.block, next_table=seen.next_table, verifier=self._verifier
                )
                self._tables.setdefault(int(tip.table.epoch), tip.table)
                self._watch.record(seen.block)
            at = int(tip.height) + 1
            if tip.height == height:
                return seen.block.header, table, int(height - first + 1)
            await asyncio.sleep(0)

    async def _table(self, api: str, height: int) -> Table:
        """The table of a height's epoch, proven from genesis by the last block of each epoch."""
        parameters = self._spec.parameters
        wanted = int(parameters.epoch(height))
        newest = max(epoch for epoch in self._tables if epoch <= wanted)
        table = self._tables[newest]
        for epoch in range(newest, wanted):
            (seen,) = await fetch(api, parameters.last_height(table.epoch), 1)
            if seen.next_table is None:
                raise InvalidProof("next_table", f"none given after epoch {epoch}")
            table = skip(
                self._spec,
                table,
                seen.block,
                next_table=seen.next_table,
                verifier=self._verifier,
            )
            self._tables[table.epoch] = table
        return table


async def fetch(api: str, first: int, count: int) -> list[Seen]:
    """Raw blocks of heights in order. Raises Unreachable, the node's error, InvalidProof."""
    reply = await get(api, f"/v1/blocks?from={first}&count={count}&raw=1")
    if reply.status != 200:
        raise told(reply.body["errors"][0])
    found = [_seen(one) for one in reply.body["blocks"]]
    heights = [seen.block.header.height for seen in found]
    if not found or heights != list(range(first, first + len(found))):
        raise Unreachable(f"{api} does not have height {first}")
    return found


def _seen(one: dict[str, Any]) -> Seen:
    header = Header.decode(b64decode(one["header"], validate=True))
    certificate = Certificate.decode(b64decode(one["certificate"], validate=True))
    table = one["next_table"]
    raw = None if table is None else b64decode(table, validate=True)
    return Seen(Certified(header, certificate), raw)
