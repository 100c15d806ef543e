"""Handshake: Noise XX with the peers' link keys, as bytes in and bytes out.

Messages 2 and 3 carry each side's signed LinkKey for the static key it has just proven. The dialler
checks that it found the expected peer before it shows who it is itself. network §2
"""

from __future__ import annotations

from typing import Final

from network import linkkey
from network.errors import HandshakeError
from network.limits import HANDSHAKE_MESSAGE_MAX
from network.mesh.noise import KEY_BYTES, Cipher, NoiseXX
from network.ports import LinkIdentity, PeerId

PROLOGUE: Final = b"apocryph/mesh/1"


class Handshake:
    """One side. Feed what arrives to `receive`, send what it returns, until `done`."""

    def __init__(
        self, identity: LinkIdentity, *, expected: PeerId | None, ephemeral: bytes, now_ms: int
    ) -> None:
        """`expected`: the peer we dial, or None if we were dialled. `now_ms`: wall clock."""
        secret = identity.secret()
        self._identity = identity
        self._expected = expected
        self._link_key = secret.link_key
        self._now_ms = now_ms
        self._noise = NoiseXX(
            initiator=expected is not None,
            prologue=PROLOGUE + identity.network,
            static=secret.static_private,
            ephemeral=ephemeral,
        )
        self._peer: PeerId | None = None

    def start(self) -> bytes:
        """The dialler's first message: only an ephemeral key, no early data."""
        return self._noise.write(b"")

    def receive(self, message: bytes) -> bytes | None:
        """Take the next message; the answer to send, or None. `HandshakeError`."""
        if len(message) > HANDSHAKE_MESSAGE_MAX:
            raise HandshakeError("handshake message too big")
        if self._noise.done or self._noise.ours:
            raise HandshakeError("handshake message out of turn")
        payload = self._noise.read(message)
        if not self._noise.remote_static:  # message 1
            if len(message) != KEY_BYTES:
                raise HandshakeError("early data")
            return self._noise.write(self._link_key)
        self._peer = linkkey.check(
            payload,
            network=self._identity.network,
            static=self._noise.remote_static,
            now_ms=self._now_ms,
            verify=self._identity.verify,
        )
        if self._expected is None:
            return None
        if self._peer != self._expected:
            raise HandshakeError("another peer answers at this address")
        return self._noise.write(self._link_key)

    @property
    def done(self) -> bool:
        return self._noise.done

    @property
    def peer(self) -> PeerId:
        assert self.done and self._peer is not None
        return self._peer

    def split(self) -> tuple[Cipher, Cipher]:
        """(for sending, for receiving)."""
        return self._noise.split()
