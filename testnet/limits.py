"""Every bound and time of the local driver, named. Knows nothing else."""

from typing import Final

# ---- what a testnet is ---------------------------------------------------------------------------
VALIDATORS_DEFAULT: Final = 4
VALIDATORS_MAX: Final = 64  # links to all owners (wire)
GATEWAY_PORT: Final = 7357
BALANCE: Final = 10**12  # tokens of each account at genesis
GENESIS_AGO_MS: Final = 1_000  # genesis lies before the first block on every clock

# ---- times ---------------------------------------------------------------------------------------
READY_S: Final = 60.0  # of one validator on a laden machine; four of them take a few seconds
STOP_S: Final = 2.2  # after SIGTERM, then SIGKILL: `down` ends within 3 s
DOWN_S: Final = 10.0  # how long `down` waits for a supervisor that should need 3
ASK_S: Final = 5.0  # one request to a node or to the supervisor
NODE_ACTION_S: Final = READY_S + ASK_S  # kill, pause, resume at once; restart waits until ready
STALL_S: Final = 120.0  # `--until` gives up when no height came for this long
POLL_S: Final = 0.05  # between looks at what has no event
VIEW_S: Final = 0.5  # between two pictures of the live view
LINE_S: Final = 1.0  # between two plain lines

# ---- sizes ---------------------------------------------------------------------------------------
LINE_BYTES_MAX: Final = 64 * 1024  # one line of a validator's output or of the control socket
REPLY_BYTES_MAX: Final = 8 * 1024 * 1024  # one HTTP answer of a node
LOG_BYTES_MAX: Final = 16 * 1024 * 1024  # of one log; an older one is kept beside it at each start
TAIL_BYTES_MAX: Final = 1024 * 1024  # of one log that are looked at for its newest lines
CONTROL_CLIENTS_MAX: Final = 64
RELAY_LINKS_MAX: Final = 1_024  # connections to the gateway at once
RELAY_BUFFER_BYTES: Final = 256 * 1024  # read ahead of a slow side
TESTNETS_MAX: Final = 1_000  # folders that `ls` looks at
CERTIFICATES_STATUS_MAX: Final = 20  # newest certificates of each node that `status` verifies
BLOCKS_PAGE: Final = 64  # heights a request

# ---- demo and load -------------------------------------------------------------------------------
DEMO_PAY: Final = 10**9  # four million hits
DEMO_DELAY_MS: Final = 500
DEMO_GAS: Final = 10_000
TRANSFER_GAS: Final = 10_000
TRANSFERS_IN_FLIGHT: Final = 1  # one message a height is enough to make heights
