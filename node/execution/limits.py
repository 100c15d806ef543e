"""Bounds of execution that are part of validity, so of consensus (protocol §11)."""

from consensus.block import INPUTS_LIMIT

REMINDER_SHARE = 4  # reminders get at most a quarter of the block's gas (execution §6)
SEND_SHARE = 2  # sends at most half, so that accounts always get a quarter
REMINDERS_MAX = 1024  # of one block
SENDS_MAX = INPUTS_LIMIT // 2 - REMINDERS_MAX  # of one block: chain-made inputs fill half a body
REMINDERS_SCANNED_MAX = 4096  # waiting reminders that one block looks at
OUTBOXES_MAX = 256  # sending agents that one block looks at
OUTBOX_PAGE = 64  # items read at once from one outbox
QUEUE_ITEMS_MAX = 4096  # sends and reminders that wait for one agent's sake; full: failed(busy)
MESSAGE_BYTES_TOTAL_MAX = 4 * 1024 * 1024  # of the account messages of one block
SKIP_ROUND = 4  # from this round on a header may list `skipped` (execution §5)
SEEN_IDS_MAX = 4096  # of one leaf: the messages of one block with one expiry
