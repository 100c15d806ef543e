"""Named bounds of the agent SDK. Sizes in bytes, counts in items, times by their suffix."""

GROUP_DEFAULT = "workers"
"""Work group that agents serve unless told otherwise."""

PLACES_DEFAULT = 64  # handlers of one instance at a time, where a delegate has no bound of its own
CALLS_OPEN_MAX = 4096  # calls in process of one instance, running or waiting for a place
CALL_DEPTH_MAX = 32  # calls within calls in process; deeper ones go through the fabric
THREADS_MAX = 32  # of one host, for handlers that are plain functions
BACKGROUND_MAX = 256  # background tasks of one instance
INSTANCES_MAX = 1024  # of one host

GRACE_S_DEFAULT = 5.0  # how long a stop waits for running handlers
CANCEL_S_MAX = 1.0  # how long it waits for cancelled ones
RECORD_ATTEMPTS_MAX = 5  # tries to record an outcome whose fate is unknown
RECORD_PAUSE_S = 0.2
RESERVE_FAILURES_MAX = 8  # in a row, before the host gives up
RESERVE_PAUSE_S = 0.25  # doubles with each failure
UPDATE_RETRIES_MAX = 16  # of Dictionary.update under contention

WRITER_ITEMS_MAX = 8192  # items a Writer holds that are not committed
WRITER_BYTES_MAX = 8 << 20
WRITER_BATCH_ITEMS = 512  # of one append by a Writer
WRITER_BATCH_BYTES = 256 << 10
WRITER_ATTEMPTS_MAX = 20  # re-sends of one append of a Writer
WRITER_PAUSE_S = 0.05
