"""Bounds of the gateway: whatever it reads, holds or waits for has one."""

from typing import Final

from consensus.messages import MESSAGE_BYTES_MAX

MESSAGES_PER_POST_MAX: Final = 512
BODY_BYTES_MAX: Final = MESSAGES_PER_POST_MAX * (MESSAGE_BYTES_MAX * 4 // 3 + 8) + 1024
BODY_S_MAX: Final = 30.0  # from the first byte of a body to its last
POSTS_MAX: Final = 8  # bodies in memory at once; others wait their turn
CONNECTIONS_MAX: Final = 512  # in all, idle ones too
CONNECTIONS_OF_ONE_MAX: Final = 64  # of one address; not of this machine, where a proxy may speak
HEAD_S: Final = 10.0  # from the first byte of a request to the end of its head
REQUESTS_MAX: Final = 256  # being answered at once, waiting ones counted
DECODED_AT_ONCE: Final = 64  # messages, then the event loop gets its turn
WAITS_MAX: Final = 1_024  # of clients for the outcome of a message
WAIT_S_MAX: Final = 60.0
REFUSED_KEPT_MAX: Final = 4_096  # late refusals that can be asked for
EVENT_CLIENTS_MAX: Final = 64
EVENT_PING_S: Final = 15.0  # a comment, so that proxies and clients see a live connection
EVENT_WRITE_S_MAX: Final = 60.0  # a client that takes nothing for so long is let go
EVENT_RETRY_MS: Final = 1_000
EVENT_SLICE: Final = 64  # records rendered, then the event loop gets its turn
LAGGED_HEIGHTS: Final = 64  # a client so far behind is told
BLOCKS_PER_PAGE_MAX: Final = 100
BLOCKS_PER_PAGE_DEFAULT: Final = 20
RAW_BLOCKS_MAX: Final = 256
PROOF_LINKS_AT_ONCE: Final = 256  # epochs read for a proof, then the event loop gets its turn
VIEW_TRIES_MAX: Final = 8  # of a view that a commit overtook
QUERY_ARGUMENTS_MAX: Final = 64
TEXT_MAX: Final = 256  # of an id, name or reference in a path
KEEPALIVE_S: Final = 75.0
STOP_S: Final = 0.5  # open requests at a graceful stop
