"""Proof files: a receipt, a message or a balance, with what leads to it from the chain's id.

Reads the links of all epochs before the block's own; judges nothing, `light verify` does.
"""

import asyncio
from base64 import b32encode

from aiohttp import web

from consensus import proofs
from consensus.block import Body, Header
from consensus.certificates import Certificate
from consensus.errors import NotProvable, TextError
from consensus.ids import ACCOUNT_TYPE, Id, id_from_text, id_text, key_from_text
from consensus.messages import Message
from consensus.stateproof import Proof
from node.agents.gateway_limits import PROOF_LINKS_AT_ONCE
from node.agents.gateway_replies import answer, path_text, refuse
from node.execution.keys import balance_key
from node.ports import Face
from node.store.chain import StoredBlock

RECEIPT, MESSAGE = "receipt", "message"


class ProofHandlers:
    """`GET /v1/proofs/{id}`."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/proofs/{id}", self.proof)]

    async def proof(self, request: web.Request) -> web.Response:
        """Of a message id: its receipt (`?of=message`: the message itself); of an account: its
        balance at the newest block."""
        text = path_text(request, "id")
        of = request.query.get("of", RECEIPT)
        if of not in (RECEIPT, MESSAGE):
            raise refuse(400, "usage", f"of: expected {RECEIPT} or {MESSAGE}")
        try:
            if text.startswith("apx1"):
                account = key_from_text(text, ACCOUNT_TYPE)
                of = "balance"
                height, path = await self._of_balance(account)
            else:
                height, path = self._of_input(id_from_text(text), of)
        except TextError as error:
            raise refuse(400, "usage", str(error)) from error
        if not self._face.spec.kind.votes:
            raise refuse(409, "not_provable", str(NotProvable(self._face.spec.consensus)))
        stored = self._face.chain.block(height)
        assert stored is not None, "proved heights are committed"
        raw = await self._file(stored, path)
        return answer(
            {
                "id": text,
                "of": of,
                "height": height,
                "block": id_text(stored.id),
                "chain": id_text(self._face.chain_id),
                "proof": b32encode(raw).decode().rstrip("=").lower(),
            }
        )

    def _of_input(self, message: Id, of: str) -> tuple[int, proofs.Path]:
        chain = self._face.chain
        place = chain.find(message)
        if place is None:
            raise refuse(404, "not_found", f"no block includes {id_text(message)}")
        height, index = place
        if height == 0:
            raise refuse(404, "not_found", "genesis has no certificate: its spec is the proof")
        if of == RECEIPT:
            receipts = chain.receipts(height)
            assert receipts is not None, "committed"
            return height, proofs.receipt_path(receipts, index)
        stored, raw = chain.block(height), chain.messages([message])[0]
        assert stored is not None, "committed"
        if raw is None:
            cause = "the chain itself made this input: only its receipt can be proved"
            raise refuse(404, "not_found", cause)
        inputs = Body.decode(stored.body).input_leaves
        return height, proofs.message_path(inputs, Message.decode(raw))

    async def _of_balance(self, account: bytes) -> tuple[int, proofs.Path]:
        key = balance_key(account)
        height, raw = await self._face.prove(key)
        if height == 0:
            raise refuse(404, "not_found", "no block is certified yet", retryable=True)
        return height, proofs.state_path(key, Proof.decode(raw))

    async def _file(self, stored: StoredBlock, path: proofs.Path) -> bytes:
        header = Header.decode(stored.header)
        spec, links = self._face.spec, []
        for epoch in range(header.fields.epoch):
            if epoch and epoch % PROOF_LINKS_AT_ONCE == 0:
                await asyncio.sleep(0)
            last = spec.parameters.last_height(epoch)
            block, table = self._face.chain.block(last), self._face.chain.table_after(last)
            assert block is not None and table is not None, "epochs before this one are committed"
            links.append(proofs.EpochLink(block.header, block.certificate, table))
        certificate = Certificate.decode(stored.certificate)
        return proofs.build(spec, links, header, certificate, path)
