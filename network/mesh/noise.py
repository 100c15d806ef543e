"""Noise_XX_25519_ChaChaPoly_SHA256: the state machine, and nothing around it.

Bytes in, bytes out (noiseprotocol.org, revision 34, §5). Ephemeral keys are arguments, so that the
public vectors can be replayed. It does not know who a static key belongs to; that is
`mesh/handshake.py`.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from network.errors import HandshakeError
from network.limits import REKEY_RECORDS

NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
MAX_NONCE: Final = (1 << 64) - 1

_NONCE = struct.Struct("<4xQ")
_ZERO_KEY: Final = bytes(KEY_BYTES)

# Noise §7.5: XX = -> e; <- e, ee, s, es; -> s, se
_MESSAGES: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))


def public_key(private: bytes) -> bytes:
    """X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def exchange(private: bytes, public: bytes) -> bytes:
    """X25519; an all-zero result (a point of small order) is refused. network §2"""
    try:
        secret = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise HandshakeError("all-zero key exchange") from error
    if secret == _ZERO_KEY:
        raise HandshakeError("all-zero key exchange")
    return secret


def hkdf2(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Noise §4.3, two outputs."""
    temp = hmac_digest(chaining_key, material, "sha256")
    first = hmac_digest(temp, b"\x01", "sha256")
    return first, hmac_digest(temp, first + b"\x02", "sha256")


class Cipher:
    """One direction: key and nonce. Noise §5.1, with a rekey every 2^20 records. network §2"""

    __slots__ = ("_aead", "_key", "_nonce", "_rekey_every")

    def __init__(self, key: bytes, rekey_every: int = REKEY_RECORDS) -> None:
        self._key = key
        self._aead = ChaCha20Poly1305(key)
        self._nonce = 0
        self._rekey_every = rekey_every

    def seal(self, plain: bytes, associated: bytes | None = None) -> bytes:
        sealed = self._aead.encrypt(_NONCE.pack(self._nonce), plain, associated)
        self._advance()
        return sealed

    def open(self, sealed: bytes, associated: bytes | None = None) -> bytes:
        """`HandshakeError` for a record that was not sealed with this key and nonce."""
        try:
            plain = self._aead.decrypt(_NONCE.pack(self._nonce), sealed, associated)
        except InvalidTag as error:
            raise HandshakeError("record does not authenticate") from error
        self._advance()
        return plain

    def _advance(self) -> None:
        self._nonce += 1
        assert self._nonce < MAX_NONCE
        if self._nonce % self._rekey_every == 0:
            # Noise §4.2 and §11.3: the nonce goes on counting.
            self._key = self._aead.encrypt(_NONCE.pack(MAX_NONCE), _ZERO_KEY, None)[:KEY_BYTES]
            self._aead = ChaCha20Poly1305(self._key)


class _Symmetric:
    """Noise §5.2. `hash` ends as the channel binding of the handshake."""

    def __init__(self, prologue: bytes) -> None:
        self.hash = NAME  # exactly 32 bytes, so not hashed
        self._chaining_key = self.hash
        self._cipher: Cipher | None = None
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = hkdf2(self._chaining_key, material)
        self._cipher = Cipher(key)

    def seal(self, plain: bytes) -> bytes:
        sealed = plain if self._cipher is None else self._cipher.seal(plain, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        plain = sealed if self._cipher is None else self._cipher.open(sealed, self.hash)
        self.mix_hash(sealed)
        return plain

    @property
    def keyed(self) -> bool:
        return self._cipher is not None

    def split(self) -> tuple[Cipher, Cipher]:
        first, second = hkdf2(self._chaining_key, b"")
        return Cipher(first), Cipher(second)


class NoiseXX:
    """One handshake: three messages in turn, then `split()`.

    `write` and `read` raise `HandshakeError`; after that the object is spent.
    """

    def __init__(
        self, *, initiator: bool, prologue: bytes, static: bytes, ephemeral: bytes
    ) -> None:
        """`static`, `ephemeral`: X25519 private keys; the ephemeral one is used once."""
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._symmetric = _Symmetric(prologue)
        self._remote_ephemeral = b""
        self.remote_static = b""
        self._step = 0

    @property
    def done(self) -> bool:
        return self._step == len(_MESSAGES)

    @property
    def ours(self) -> bool:
        """Is the next message ours to write?"""
        return not self.done and (self._step % 2 == 0) is self._initiator

    @property
    def binding(self) -> bytes:
        """Hash of the whole handshake, 32 bytes."""
        return self._symmetric.hash

    def write(self, payload: bytes) -> bytes:
        assert self.ours
        out = bytearray()
        for token in _MESSAGES[self._step]:
            if token == "e":
                public = public_key(self._ephemeral)
                self._symmetric.mix_hash(public)
                out += public
            elif token == "s":
                out += self._symmetric.seal(public_key(self._static))
            else:
                self._mix(token)
        out += self._symmetric.seal(payload)
        self._step += 1
        return bytes(out)

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's message."""
        assert not self.ours and not self.done
        at = 0
        for token in _MESSAGES[self._step]:
            if token in ("e", "s"):
                size = KEY_BYTES + (TAG_BYTES if token == "s" and self._symmetric.keyed else 0)
                part = message[at : at + size]
                at += size
                if len(part) != size:
                    raise HandshakeError("handshake message is cut off")
                if token == "e":
                    self._symmetric.mix_hash(part)
                    self._remote_ephemeral = part
                else:
                    self.remote_static = self._symmetric.open(part)
            else:
                self._mix(token)
        rest = message[at:]
        if self._symmetric.keyed and len(rest) < TAG_BYTES:
            raise HandshakeError("handshake message is cut off")
        payload = self._symmetric.open(rest)
        self._step += 1
        return payload

    def split(self) -> tuple[Cipher, Cipher]:
        """(for sending, for receiving)."""
        assert self.done
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def _mix(self, token: str) -> None:
        if token == "ee":
            secret = exchange(self._ephemeral, self._remote_ephemeral)
        elif (token == "es") is self._initiator:
            secret = exchange(self._ephemeral, self.remote_static)
        else:
            secret = exchange(self._static, self._remote_ephemeral)
        self._symmetric.mix_key(secret)
