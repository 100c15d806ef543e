"""Many readers of a node's `blocks` and `votes` in one process, so that one SIGSTOP stops them all.

    python -m tests.e2e.stopped_readers ADDRESS READERS_PER_STREAM

Prints `ready` when each has had its first batch; from then on, of the first reader of `blocks`, one
line a batch: its last offset, or `truncated FIRST`.
"""

import asyncio
import sys

from perper_core.errors import Truncated
from perper_core.ports import OLDEST
from perper_core.wire.client import connect

STREAMS = ("blocks", "votes")


async def read(fabric, stream: str, first: asyncio.Future, *, speaks: bool) -> None:
    listener = await fabric.listen(stream, first=OLDEST)
    while True:
        try:
            async for batch in listener:
                if not first.done():
                    first.set_result(None)
                if speaks:
                    print(batch.last, flush=True)
        except Truncated as error:
            if speaks:
                print("truncated", error.first, flush=True)


async def main(address: str, count: int) -> None:
    loop = asyncio.get_running_loop()
    firsts = []
    async with await connect(address) as fabric, asyncio.TaskGroup() as tasks:
        for stream in STREAMS:
            for nth in range(count):
                firsts.append(loop.create_future())
                speaks = stream == "blocks" and nth == 0
                tasks.create_task(read(fabric, stream, firsts[-1], speaks=speaks))
        await asyncio.gather(*firsts)
        print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
