"""A reader in its own process: writes each offset as a line to its output, then acknowledges.

python -m tests.perper_core.reader_program ADDRESS STREAM NAME
"""

import asyncio
import sys

from perper_core.errors import Truncated
from perper_core.ports import OLDEST
from perper_core.wire.client import connect


async def main(address: str, stream: str, name: str) -> None:
    async with await connect(address) as fabric:
        listener = await fabric.listen(stream, name=name, first=OLDEST)
        while True:
            try:
                async for batch in listener:
                    for item in batch:
                        print(item.offset, flush=True)
                    await listener.ack(batch.last)
                return
            except Truncated as error:
                print("truncated", error.first, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
