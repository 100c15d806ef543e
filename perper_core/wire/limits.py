"""Named bounds of the session over gRPC. Sizes in bytes, counts in items, times by their suffix."""

PROTOCOL_VERSION = 1
SESSION_BYTES = 16

# frames
FRAME_ITEMS_MAX = 512
FRAME_BYTES_MAX = 256 << 10  # one reply or item above it travels alone
MESSAGE_BYTES_MAX = 8 << 20  # what gRPC refuses to receive
ITEM_WEIGHT = 16  # what an item costs in a window beside its bytes

# one session
COMMANDS_OPEN_MAX = 1024  # unanswered, or answered and not confirmed
CLIENT_COMMANDS_MAX = 512  # what our client keeps open: aborted ones may still run at the server
CLIENT_BYTES_MAX = 16 << 20  # of its open commands
READS_MAX = 16  # reads of values under way
OUTBOX_BYTES_MAX = 4 << 20  # beyond, the server reads no more commands
PARTS_BYTES_MAX = 8 << 20  # of unfinished multi-part appends
LISTENERS_MAX = 256
WORKERS_MAX = 64
WINDOW_DEFAULT = 1 << 20  # weight of items under way to one listener
WINDOW_MAX = 8 << 20
WINDOWS_SUM_MAX = 64 << 20  # of the listeners of one session
CREDIT_SHARE = 4  # credit is given back when a quarter of the window is consumed

# the server
SESSIONS_MAX = 256
RESUME_S = 5.0  # how long a lost session waits for its client
STOP_GRACE_S_DEFAULT = 1.0
PAGE_BYTES_MAX = 256 << 10  # of a list's page

# the client
CONNECT_S_DEFAULT = 10.0
DISCONNECT_S_MAX = 30.0  # open commands are given up after that long without a server
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
PAGES_MAX = 10_000  # of one list
GIVE_UP_EVERY_S = 1.0  # how often a client without server looks for commands to give up
FLUSH_S = 1.0  # a closing client waits so long for the server to have closed its session

# HTTP/2
CLIENT_PING_MS = 20_000
SERVER_PING_MS = 30_000
PING_TIMEOUT_MS = 10_000
PING_GAP_MS = 10_000  # the server tolerates pings as often as that
