"""What the driver says of validators is proven: every lie of a validator is refused by name."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from consensus.spec import ChainSpec
from node.errors import ProofRefused, Unreachable
from testnet.folder import Member
from testnet.witness import Witness
from tests.testnet.nets import Home

pytestmark = pytest.mark.slow

EPOCH = 128
TIP = 140  # in the second epoch
Block = dict[str, Any]
Lie = Callable[[list[Block]], None]


class Chain:
    """A chain of one validator, as bytes."""

    def __init__(self, spec: ChainSpec, peer: str, blocks: list[Block]) -> None:
        self.spec, self.peer, self.blocks = spec, peer, blocks


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    with Home(tmp_path_factory.mktemp("home")) as home:
        until = ("--epoch-blocks", str(EPOCH), "--until", f"height={TIP}")
        api = home.up(1, *until)["api"]
        told = json.loads((home.folder() / "testnet.json").read_text())
        spec = ChainSpec.decode((home.folder() / "spec.cbor").read_bytes())
        with urlopen(f"{api}/v1/blocks?from=0&count=256&raw=1", timeout=10) as answer:
            blocks = json.load(answer)["blocks"][: TIP + 1]
        home.testnet("down")
    return Chain(spec, told["nodes"][0]["peer"], blocks)


@asynccontextmanager
async def telling(blocks: list[Block]) -> AsyncIterator[str]:
    """A validator that answers with these blocks; its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        query = parse_qs(urlsplit(head.split()[1].decode()).query)
        first, count = int(query["from"][0]), int(query["count"][0])
        body = json.dumps({"blocks": blocks[first : first + count]}).encode()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def row(chain: Chain, lie: Lie, height: int, certificates: int) -> dict[str, Any]:
    blocks = [dict(block) for block in chain.blocks]
    lie(blocks)
    witness = Witness(chain.spec)
    try:
        async with telling(blocks) as api:
            node = Member("n1", chain.peer, api=api)
            return await witness.row(node, height, certificates=certificates)
    finally:
        witness.close()


def honest(blocks: list[Block]) -> None:
    return None


@pytest.mark.parametrize(
    ("height", "certificates", "checked"),
    [(TIP, TIP, TIP), (TIP, 5, 5), (EPOCH, 1, 1), (EPOCH + 1, 1, 1), (1, 20, 1)],
)
async def test_an_honest_validator(
    chain: Chain, height: int, certificates: int, checked: int
) -> None:
    found = await row(chain, honest, height, certificates)
    assert (found["height"], found["certificates_verified"]) == (height, checked)
    assert (found["name"], found["slots"]) == ("n1", 600)


def flipped(text: str, place: int) -> str:
    raw = bytearray(b64decode(text))
    raw[place] ^= 1
    return b64encode(raw).decode()


def flip(height: int, field: str, place: int) -> Lie:
    def lie(blocks: list[Block]) -> None:
        blocks[height][field] = flipped(blocks[height][field], place)

    return lie


def other_certificate(blocks: list[Block]) -> None:
    blocks[TIP]["certificate"] = blocks[TIP - 1]["certificate"]


def other_block(blocks: list[Block]) -> None:
    blocks[TIP] = {**blocks[TIP - 1], "height": TIP}


def no_table(blocks: list[Block]) -> None:
    blocks[EPOCH]["next_table"] = None


def no_form(blocks: list[Block]) -> None:
    del blocks[TIP]["header"]


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (flip(TIP, "certificate", -1), "signature"),
        (flip(TIP, "header", -1), "n1: "),
        (flip(EPOCH, "next_table", -1), "next_table"),
        (flip(EPOCH, "certificate", -1), "signature"),
        (other_certificate, "n1: certificate"),
        (no_table, "next_table"),
        (no_form, "header"),
    ],
)
@pytest.mark.parametrize("certificates", [TIP, 1], ids=["followed", "skipped"])
async def test_a_lie_is_refused(chain: Chain, lie: Lie, words: str, certificates: int) -> None:
    with pytest.raises(ProofRefused, match=words):
        await row(chain, lie, TIP, certificates)


async def test_a_height_that_is_not_there(chain: Chain) -> None:
    with pytest.raises(Unreachable, match="does not have height"):
        await row(chain, other_block, TIP, 1)
    with pytest.raises(Unreachable, match="does not have height"):
        await row(chain, lambda blocks: blocks.pop(), TIP, 5)
