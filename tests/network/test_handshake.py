"""The authenticated handshake: who is refused, and what cannot be reflected or replayed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from network.errors import HandshakeError, RemoteError
from network.mesh.handshake import Handshake
from network.mesh.hello import Hello, agree, decode_hello, encode_hello, hello_of
from network.mesh.noise import NoiseXX, public_key
from network.ports import LinkIdentity, LinkSecret
from tests.network.netlab import NETWORK_ID, make_identity, make_secret, peer_of

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
OTHER_NETWORK = b"\x01\x71\x12\x20" + bytes(32)


def secret(name: str, **wrong: object) -> LinkSecret:
    options: dict[str, object] = {"not_after_ms": NOW_MS + HOUR_MS, **wrong}
    return make_secret(name, **options)  # type: ignore[arg-type]


def identity(name: str, **wrong: object) -> LinkIdentity:
    return make_identity(name, secret=secret(name, **wrong))


def dial(who: LinkIdentity, expected: bytes, ephemeral: int = 1) -> Handshake:
    return Handshake(who, expected=expected, ephemeral=bytes([ephemeral]) * 32, now_ms=NOW_MS)


def accept(who: LinkIdentity, ephemeral: int = 2) -> Handshake:
    return Handshake(who, expected=None, ephemeral=bytes([ephemeral]) * 32, now_ms=NOW_MS)


def run(dialler: Handshake, acceptor: Handshake) -> tuple[bytes, bytes, bytes]:
    """The three messages of a whole handshake."""
    first = dialler.start()
    second = acceptor.receive(first)
    assert second is not None
    third = dialler.receive(second)
    assert third is not None
    assert acceptor.receive(third) is None
    return first, second, third


def test_both_ends_know_each_other() -> None:
    dialler, acceptor = dial(identity("ann"), peer_of("bob")), accept(identity("bob"))
    run(dialler, acceptor)
    assert (dialler.peer, acceptor.peer) == (peer_of("bob"), peer_of("ann"))
    send, _ = dialler.split()
    _, receive = acceptor.split()
    assert receive.open(send.seal(b"hello")) == b"hello"


WRONG = {
    "another network": {"network": OTHER_NETWORK},
    "another static": {"vouched": public_key(bytes([9]) * 32)},
    "expired": {"not_after_ms": NOW_MS},
    "too long": {"not_after_ms": NOW_MS + 30 * 24 * HOUR_MS},
    "not signed": {"signer": "mallory"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_link_key_is_refused_by_either_end(wrong: str) -> None:
    bad = {name: identity(name, **WRONG[wrong]) for name in ("ann", "bob")}
    with pytest.raises(HandshakeError, match=wrong):
        run(dial(identity("ann"), peer_of("bob")), accept(bad["bob"]))
    with pytest.raises(HandshakeError, match=wrong):
        run(dial(bad["ann"], peer_of("bob")), accept(identity("bob")))


def test_the_dialler_shows_nothing_to_a_peer_that_it_did_not_expect() -> None:
    dialler, acceptor = dial(identity("ann"), peer_of("cleo")), accept(identity("bob"))
    second = acceptor.receive(dialler.start())
    assert second is not None
    with pytest.raises(HandshakeError, match="another peer"):
        dialler.receive(second)


def test_networks_do_not_understand_each_other() -> None:
    ann = make_identity("ann", network=OTHER_NETWORK)
    dialler, acceptor = dial(ann, peer_of("bob")), accept(identity("bob"))
    second = acceptor.receive(dialler.start())
    assert second is not None
    with pytest.raises(HandshakeError, match="authenticate"):
        dialler.receive(second)


def test_early_data_is_refused() -> None:
    noise = NoiseXX(
        initiator=True,
        prologue=b"apocryph/mesh/1" + NETWORK_ID,
        static=bytes([3]) * 32,
        ephemeral=bytes([4]) * 32,
    )
    with pytest.raises(HandshakeError, match="early data"):
        accept(identity("bob")).receive(noise.write(b"early"))


def test_reflected_messages_are_refused() -> None:
    """What we sent comes back to us, in the same handshake and in one of its own."""
    dialler = dial(identity("ann"), peer_of("bob"))
    first = dialler.start()
    with pytest.raises(HandshakeError):
        dialler.receive(first)
    # A relay connects our dial with our own listener: we find ourselves, not whom we expected.
    with pytest.raises(HandshakeError, match="another peer"):
        run(dial(identity("ann"), peer_of("bob")), accept(identity("ann")))
    first, _, _ = run(dial(identity("ann"), peer_of("bob")), accept(identity("bob")))
    waiting = accept(identity("bob"), ephemeral=7)
    answer = waiting.receive(first)
    assert answer is not None
    with pytest.raises(HandshakeError):
        waiting.receive(answer)


def test_replayed_messages_are_refused() -> None:
    first, second, third = run(dial(identity("ann"), peer_of("bob")), accept(identity("bob")))
    fresh = accept(identity("bob"), ephemeral=7)
    assert fresh.receive(first) != second
    with pytest.raises(HandshakeError, match="authenticate"):
        fresh.receive(third)  # message 3 of the old run, after its own message 1
    with pytest.raises(HandshakeError):
        accept(identity("bob")).receive(third)  # without any message 1
    again = dial(identity("ann"), peer_of("bob"), ephemeral=8)
    again.start()
    with pytest.raises(HandshakeError, match="authenticate"):
        again.receive(second)
    done = accept(identity("bob"))
    run(dial(identity("ann"), peer_of("bob")), done)
    with pytest.raises(HandshakeError, match="out of turn"):
        done.receive(third)


def test_oversize_messages_are_refused_before_any_exchange() -> None:
    with pytest.raises(HandshakeError, match="too big"):
        accept(identity("bob")).receive(bytes(2_000))


def test_hello_and_versions() -> None:
    ours = hello_of(make_identity("ann", wire=(1, 3)))
    assert decode_hello(encode_hello(ours)) == ours
    assert agree(ours, replace(ours, wire_min=2, wire_max=9)) == 3
    assert agree(ours, replace(ours, wire_min=1, wire_max=2)) == 2
    with pytest.raises(HandshakeError, match="version"):
        agree(ours, replace(ours, wire_min=4, wire_max=9))
    with pytest.raises(HandshakeError, match="network"):
        agree(ours, replace(ours, network=OTHER_NETWORK))


@pytest.mark.parametrize(
    "bad",
    [
        {"instance": b"short"},
        {"chains": (b"short",)},
        {"chains": (bytes(36),) * 65},
        {"features": ("x" * 33,)},
        {"wire_min": 2, "wire_max": 1},
        {"wire_max": 1 << 16},
    ],
)
def test_hellos_that_are_wrong_in_themselves(bad: dict[str, object]) -> None:
    hello: Hello = replace(hello_of(make_identity("ann")), **bad)  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        decode_hello(encode_hello(hello))


def test_truncated_hellos_are_refused() -> None:
    frame = encode_hello(hello_of(make_identity("ann")))
    for length in range(len(frame)):
        with pytest.raises(RemoteError):
            decode_hello(frame[:length])
