"""Read `blocks` and `votes` of a running node from another process.

    python tail_blocks.py 127.0.0.1:PORT

Kill it and start it again: it goes on behind the last block it has seen.
"""

import asyncio
import sys

import libipld

from perper_core.ports import OLDEST
from perper_core.wire.client import connect


async def main(address: str) -> None:
    votes = 0
    async with await connect(address) as fabric:

        async def count_votes() -> None:
            nonlocal votes
            async for batch in await fabric.listen("votes"):
                votes += len(batch)

        counting = asyncio.create_task(count_votes())
        async with await fabric.listen("blocks", name="tail_blocks", first=OLDEST) as blocks:
            async for batch in blocks:
                for item in batch:
                    height, _header, _certificate = libipld.decode_dag_cbor(item.raw)
                    print(
                        f"height {height}: {len(item.raw)} bytes, {votes} votes so far", flush=True
                    )
                await blocks.ack(batch.last)
        counting.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
