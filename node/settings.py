"""The settings that a node has: sections, keys, kinds of values, defaults, presets.

Knows nothing of files, variables and flags: `config.py` finds the values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from consensus.errors import TextError
from consensus.ids import PEER_TYPE, Peer, checkpoint_from_text, key_from_text, peer_text
from node.errors import suggestion

PEERS_MAX: Final = 1024
PRESETS: Final = ("local", "public")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
HOST_CHARACTERS_MAX: Final = 253  # of a name, as DNS has it
LABEL_CHARACTERS_MAX: Final = 63  # of each part of it
HOST_CHARACTERS_SHOWN: Final = 32
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Address(NamedTuple):
    """Where to listen; port 0: the system picks one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return self.host in _LOOPBACK


class KnownPeer(NamedTuple):
    """`id@host:port`: a peer to dial, and the key that must answer."""

    peer: Peer
    host: str
    port: int

    @property
    def text(self) -> str:
        return f"{peer_text(self.peer)}@{Address(self.host, self.port).text}"


Parse = Callable[[object], Any]


# ---- kinds of values: from TOML (typed) or from text ---------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return value


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("expected true or false")


def _whole(least: int, most: int) -> Parse:
    def parse(value: object) -> int:
        if isinstance(value, str) and value.removeprefix("-").isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("expected a whole number")
        if not least <= value <= most:
            raise ValueError(f"{least} ≤ {value} ≤ {most} does not hold")
        return value

    return parse


def _choice(*words: str) -> Parse:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            near = suggestion(str(value), words)
            raise ValueError(f"expected one of {', '.join(words)}{near}")
        return value

    return parse


def parse_address(value: object) -> Address:
    """`host:port` or `[v6]:port`. Raises ValueError."""
    host, mark, port = str(value).rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not isinstance(value, str) or not mark or not host or not port.isdigit():
        raise ValueError("expected host:port")
    if len(host) > HOST_CHARACTERS_MAX or any(
        len(p) > LABEL_CHARACTERS_MAX for p in host.split(".")
    ):
        raise ValueError(f"{host[:HOST_CHARACTERS_SHOWN]}…: too long for the name of a host")
    if int(port) > 65_535:
        raise ValueError(f"port {port} ≤ 65535 does not hold")
    return Address(host, int(port))


def parse_peer(text: str) -> KnownPeer:
    """`id@host:port`. Raises ValueError."""
    key, mark, place = text.partition("@")
    if not mark:
        raise ValueError(f"peer {text!r}: expected id@host:port")
    try:
        return KnownPeer(Peer(key_from_text(key, PEER_TYPE)), *parse_address(place))
    except TextError as error:
        raise ValueError(f"peer {text!r}: {error}") from error


def _peers(value: object) -> tuple[KnownPeer, ...]:
    items = [part for part in value.split(",") if part] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("expected a list of id@host:port")
    if len(items) > PEERS_MAX:
        raise ValueError(f"{len(items)} peers ≤ {PEERS_MAX} does not hold")
    return tuple([parse_peer(item.strip()) for item in items])


def _checkpoint(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected HEIGHT:ID")
    if value:
        try:
            checkpoint_from_text(value)
        except TextError as error:
            raise ValueError(str(error)) from error
    return value


def _about(parse: Parse, doc: str, **presets: object) -> dict[str, Any]:
    return {"parse": parse, "doc": doc, "presets": presets}


_ANY_LOCAL_PORT: Final = Address("127.0.0.1", 0)


# ---- the sections --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    name: str = field(
        default="", metadata=_about(_text, "how this node calls itself in logs and status")
    )
    spec: str = field(
        default="spec.cbor", metadata=_about(_text, "the chain's specification, canonical bytes")
    )
    key: str = field(
        default="key.json", metadata=_about(_text, "the slot key: an encrypted keystore")
    )
    password_file: str = field(
        default="", metadata=_about(_text, "a file with the password of the key; empty: ask")
    )
    checkpoint: str = field(
        default="",
        metadata=_about(_checkpoint, "HEIGHT:ID of a recent block that is trusted; empty: none"),
    )
    continues: str = field(
        default="",
        metadata=_about(_text, "the folder of a node of the chain that this one continues"),
    )
    mining: bool = field(default=True, metadata=_about(_boolean, "mine slots for the next epoch"))
    log: str = field(
        default="info", metadata=_about(_choice(*LOG_LEVELS), "least level of what is logged")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSection:
    kind: str = field(
        default="mesh", metadata=_about(_choice("mesh"), "how bytes move between peers")
    )
    listen: Address = field(
        default=Address("0.0.0.0", 7360),
        metadata=_about(parse_address, "where links of peers come in", local=_ANY_LOCAL_PORT),
    )
    peers: tuple[KnownPeer, ...] = field(
        default=(), metadata=_about(_peers, "peers to dial, as id@host:port")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSection:
    listen: Address = field(
        default=Address("127.0.0.1", 7358),
        metadata=_about(parse_address, "where users' requests come in", local=_ANY_LOCAL_PORT),
    )
    token_file: str = field(
        default="", metadata=_about(_text, "a file with the token that other machines must show")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricSection:
    listen: Address = field(
        default=Address("127.0.0.1", 7359),
        metadata=_about(
            parse_address, "where readers of the node's streams connect", local=_ANY_LOCAL_PORT
        ),
    )
    keep_heights: int = field(
        default=256,
        metadata=_about(_whole(1, 1_000_000), "heights of blocks and votes that streams keep"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSection:
    keep: str = field(
        default="ring",
        metadata=_about(_choice("off", "ring", "full"), "what of the input is recorded"),
    )
    segment_mib: int = field(
        default=64, metadata=_about(_whole(1, 1024), "MiB of one file of the journal")
    )
    segments: int = field(default=8, metadata=_about(_whole(2, 1024), "files of the ring"))


SECTIONS: Final[dict[str, type]] = {
    "node": NodeSection,
    "network": NetworkSection,
    "api": ApiSection,
    "fabric": FabricSection,
    "journal": JournalSection,
}
KEYS: Final[tuple[str, ...]] = tuple(
    f"{section}.{key.name}" for section, kind in SECTIONS.items() for key in fields(kind)
)
