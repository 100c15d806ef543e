"""Noise XX: public vectors, our own pinned ones, and everything that must be refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from network.errors import HandshakeError
from network.mesh.noise import Cipher, NoiseXX, exchange, public_key

NAME = "Noise_XX_25519_ChaChaPoly_SHA256"
MODULE = "github.com/flynn/noise@v1.1.0"
OWN = Path(__file__).parent.parent / "vectors" / "network" / "noise.json"

# A public key of small order: the exchange with it is all zero.
SMALL_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")


def handshake(initiator: bool, prologue: bytes = b"") -> NoiseXX:
    number = 1 if initiator else 2
    return NoiseXX(
        initiator=initiator,
        prologue=prologue,
        static=bytes([number]) * 32,
        ephemeral=bytes([number + 10]) * 32,
    )


def replay(vector: dict[str, str]) -> None:
    """Run both sides of one vector: each message must come out as written."""
    prologue = bytes.fromhex(vector.get("prologue", ""))
    sides = [
        NoiseXX(
            initiator=role == "init",
            prologue=prologue,
            static=bytes.fromhex(vector[f"{role}_static"]),
            ephemeral=bytes.fromhex(vector[f"gen_{role}_ephemeral"]),
        )
        for role in ("init", "resp")
    ]
    ciphers: list[tuple[Cipher, Cipher]] = []
    number = 0
    while f"msg_{number}_payload" in vector:
        payload = bytes.fromhex(vector[f"msg_{number}_payload"])
        expected = bytes.fromhex(vector[f"msg_{number}_ciphertext"])
        # The handshake has three messages; after it the initiator writes first again.
        writer = number % 2 if number < 3 else (number - 3) % 2
        reader = 1 - writer
        if number < 3:
            assert sides[writer].write(payload) == expected
            assert sides[reader].read(expected) == payload
        else:
            ciphers = ciphers or [side.split() for side in sides]
            assert ciphers[writer][0].seal(payload) == expected
            assert ciphers[reader][1].open(expected) == payload
        number += 1
    assert number > 3
    assert sides[0].binding == sides[1].binding
    assert sides[0].remote_static == public_key(bytes.fromhex(vector["resp_static"]))


def test_own_vectors() -> None:
    vectors = json.loads(OWN.read_text())["vectors"]
    assert len(vectors) == 3
    for vector in vectors:
        replay(vector)


def public_vectors() -> list[dict[str, str]]:
    """The vectors of our handshake in the module cache of Go, downloaded if need be."""
    go = shutil.which("go")
    assert go is not None, "the public vectors come with Go's module proxy"
    cache = subprocess.run([go, "env", "GOMODCACHE"], check=True, capture_output=True, text=True)
    path = Path(cache.stdout.strip()) / MODULE / "vectors.txt"
    if not path.exists():
        subprocess.run([go, "mod", "download", MODULE], check=True, cwd="/")
    blocks = path.read_text().split("\n\n")
    vectors = [dict(line.split("=", 1) for line in block.split()) for block in blocks]
    return [vector for vector in vectors if vector.get("handshake") == NAME]


@pytest.mark.integration
def test_public_vectors() -> None:
    vectors = public_vectors()
    assert len(vectors) == 4
    for vector in vectors:
        replay(vector)


def test_small_order_points_are_refused() -> None:
    with pytest.raises(HandshakeError, match="all-zero"):
        exchange(bytes([1]) * 32, SMALL_ORDER)
    with pytest.raises(HandshakeError, match="all-zero"):
        exchange(bytes([1]) * 32, bytes(32))
    responder = handshake(False)
    responder.read(bytes(32))
    with pytest.raises(HandshakeError, match="all-zero"):
        responder.write(b"")


def test_another_prologue_is_refused() -> None:
    one, other = handshake(True, b"network a"), handshake(False, b"network b")
    other.read(one.write(b""))
    with pytest.raises(HandshakeError, match="authenticate"):
        one.read(other.write(b""))


@pytest.mark.parametrize("message", [0, 1, 2])
def test_every_truncation_is_refused(message: int) -> None:
    def sides() -> list[NoiseXX]:
        pair = [handshake(True), handshake(False)]
        for number in range(message):
            pair[1 - number % 2].read(pair[number % 2].write(b"payload" if number else b""))
        return pair

    whole = sides()[message % 2].write(b"payload" if message else b"")
    for length in range(len(whole)):
        with pytest.raises(HandshakeError):
            sides()[1 - message % 2].read(whole[:length])


@pytest.mark.parametrize("message", [1, 2])
def test_every_flipped_byte_is_refused(message: int) -> None:
    def sides() -> list[NoiseXX]:
        pair = [handshake(True), handshake(False)]
        for number in range(message):
            pair[1 - number % 2].read(pair[number % 2].write(b""))
        return pair

    whole = sides()[message % 2].write(b"payload")
    for at in range(len(whole)):
        bad = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(HandshakeError):
            sides()[1 - message % 2].read(bad)


def test_ciphers_rekey_together() -> None:
    sealing, opening = Cipher(bytes(32), rekey_every=4), Cipher(bytes(32), rekey_every=4)
    never = Cipher(bytes(32), rekey_every=1 << 20)
    for number in range(10):
        plain = b"record %d" % number
        sealed = sealing.seal(plain)
        assert (never.seal(plain) == sealed) is (number < 4)
        assert opening.open(sealed) == plain


def test_records_open_once_and_in_order() -> None:
    sealing = Cipher(bytes(32))
    first, second = sealing.seal(b"1"), sealing.seal(b"2")
    with pytest.raises(HandshakeError):
        Cipher(bytes(32)).open(second)
    opening = Cipher(bytes(32))
    opening.open(first)
    with pytest.raises(HandshakeError):
        opening.open(first)
