"""Open files: as many as a node needs, before it opens the first. Knows bounds alone."""

import resource
from typing import Final

from network.limits import HALF_OPEN_MAX, LINKS_INBOUND_MAX, LINKS_OUTBOUND_MAX
from node.agents.gateway_limits import CONNECTIONS_MAX
from node.errors import OpenFilesTooFew

OWN_FILES: Final = 128  # stores, journal, logs, locks, the loop's own, readers of streams
NEEDED: Final = CONNECTIONS_MAX + LINKS_INBOUND_MAX + LINKS_OUTBOUND_MAX + HALF_OPEN_MAX + OWN_FILES
WANTED: Final = 4_096
assert NEEDED <= 1_024, "what most systems give without being asked is enough"


def raise_limit(needed: int = NEEDED, wanted: int = WANTED) -> int:
    """Raise this process's soft limit as far as it may, up to `wanted`; what it is then.

    Raises OpenFilesTooFew where that is less than `needed`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < goal:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        except (OSError, ValueError):  # a system with another bound of its own
            goal = soft
        soft = goal
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise OpenFilesTooFew(
            f"this process may open {soft} files at once, a node needs {needed}",
            hint=f"`ulimit -n {wanted}` in the shell, or LimitNOFILE={wanted} in the service unit,"
            " then start again",
        )
    return wanted if soft == resource.RLIM_INFINITY else soft
