"""Named bounds and times of the fabric. Sizes in bytes, counts in items, times by their suffix."""

# names
NAME_BYTES_MAX = 200  # streams, listeners, instances, delegates, groups, states
ID_BYTES_MAX = 320  # execution ids: a parent's id with ordinals behind it
STATE_KEY_BYTES_MAX = 200
STORE_KEY_BYTES_MAX = 500  # lmdb takes 511

# values
VALUE_BYTES_MAX = 1 << 20  # contract 21
VALUE_DEPTH_MAX = 32

# streams: one append, one batch to a reader
ITEM_BYTES_MAX = 1 << 20
APPEND_ITEMS_MAX = 8192
APPEND_BYTES_MAX = 4 << 20
CHUNK_ITEMS_MAX = 1024  # of one store record
CHUNK_BYTES_MAX = 256 << 10  # unless one item is larger
BATCH_ITEMS_DEFAULT = 512
BATCH_BYTES_DEFAULT = 256 << 10
BATCH_ITEMS_MAX = 8192
LOCATOR_STRIDE = 256  # one locator record per so many offsets
WINDOW_ITEMS_DEFAULT = 16384  # credit ahead of the slowest flow listener (contract 18)
WINDOW_BYTES_DEFAULT = 16 << 20
YIELD_ITEMS = 1024  # a writer on a store that never waits gives way after so many
PENDING_APPENDS_MAX = 4096  # appends of one stream waiting for the head
PENDING_BYTES_MAX = 64 << 20
QUOTA_BYTES_DEFAULT = 1 << 30  # of one stream that nothing else bounds
EPHEMERAL_ITEMS_DEFAULT = 65536  # unread items of an ephemeral stream without flow listeners
EPHEMERAL_BYTES_DEFAULT = 32 << 20
HOLD_S_DEFAULT = 3600.0  # how long an absent named listener holds an ephemeral stream (contract 8)
HOLD_BYTES_DEFAULT = 16 << 20
PRODUCERS_MAX = 64  # live producer sessions of one stream (contract 7)
LISTENERS_MAX = 4096  # attached to one stream
NAMED_LISTENERS_MAX = 256  # of one stream, attached or not
TAIL_BYTES_MAX = 2 << 20  # newest items of a stream that the owner keeps at hand
TAIL_CHUNKS_MAX = 1024
CHUNK_INDEX_MAX = 65536  # chunks whose sizes the owner remembers for retention
STREAMS_OPEN_MAX = 65536

# times of streams
RETRY_MS_DEFAULT = 20  # hint with Exhausted by credit
ACK_SAVE_S = 0.05  # acknowledged positions are saved at most this late
TRIM_EVERY_S = 0.2  # at most one trim of a stream in this time
SAFETY_READ_S = 5.0  # contract 17, only where a store may lose a watch

# executions
DEADLINE_S_DEFAULT = 60.0
DEADLINE_S_MAX = 86400.0
PARALLEL_MAX = 1024
ATTEMPTS_DEFAULT = 5
ATTEMPTS_MAX = 1000
BACKOFF_FIRST_MS = 100
BACKOFF_MAX_MS = 30_000
EXECUTIONS_OPEN_MAX = 100_000
CHILDREN_MAX = 10_000
RESULT_KEEP_S = 3600.0  # a finished execution nobody reads (contract 20)
READ_KEEP_S = 60.0  # after its outcome was read: a lost answer may be asked for again
ID_KEEP_S = 86400.0  # its id stays taken
FINISHED_MAX = 16384  # at most so many of them, oldest go first
SWEEP_EVERY_S = 30.0
WORKERS_MAX = 4096

# leases (contract 14, 15)
LEASE_TTL_S = 10.0
LEASE_BEAT_S = 3.0

# store access
CONFLICT_RETRIES_MAX = 16
UNKNOWN_RETRIES_MAX = 8
GET_MANY_MAX = 1024
SCAN_ITEMS_MAX = 1024
WATCH_HINTS_MAX = 1024
LIST_ITEMS_MAX = 1000

# lmdb
LMDB_MAP_FIRST_BYTES = 64 << 20
LMDB_MAP_MAX_BYTES = 1 << 40
LMDB_GROUP_WRITES_MAX = 8192  # writes of one group commit
LMDB_QUEUE_MAX = 65536
LMDB_FULL_BYTES = 4 << 20  # with less room a write that breaks off means a full disk
LMDB_READ_MS_MAX = 100
LMDB_READERS_MAX = 126
LMDB_VERIFY_PAGES_MAX = 65536  # pages checked at open (256 MiB); beyond, values by their checksum

# capabilities
TOKEN_BYTES_MAX = 512
REVOKED_MAX = 65536
