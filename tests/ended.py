"""How a program of the tests ends: by itself, or by Ctrl-C, in one line. Knows no program."""

import sys
from collections.abc import Callable

from node.cli.output import INTERRUPTED


def ended(program: Callable[[], int]) -> int:
    """Its exit code; that of an interrupt, without a traceback, where there was one."""
    try:
        return program()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(INTERRUPTED)
