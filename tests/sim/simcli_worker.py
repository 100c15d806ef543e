"""What a worker of the pool is given: a task that ends in the way its number says."""

import os
import signal

DIES, RAISES, HANGS = 1, 2, 3


def end_as(number: int) -> int:
    if number == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == RAISES:
        raise ValueError("no")
    if number == HANGS:
        signal.pause()
    return number
