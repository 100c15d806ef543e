"""Every bound of the network, by name: sizes in bytes, times in seconds unless the name says _ms.

Measured reasons are on the design's network page; a change here is a change of `docs/wire.md`
where the comment says "wire".
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# -- identities and names -------------------------------------------------------------------------
PEER_BYTES: Final = 32  # wire: Ed25519 public key
ID_BYTES: Final = 36  # wire: opaque content id, its last 32 bytes are the sha256
DIGEST_BYTES: Final = 32
INSTANCE_BYTES: Final = 16  # wire
TOPIC_BYTES_MAX: Final = 128  # wire
TOPICS_MAX: Final = 64  # wire
PROTO_BYTES_MAX: Final = 32  # wire
CHAINS_MAX: Final = 64  # wire
FEATURES_MAX: Final = 32  # wire
FEATURE_BYTES_MAX: Final = 32  # wire
CAUSE_BYTES_MAX: Final = 120  # wire: text of a refusal or a goodbye

# -- payloads of the port -------------------------------------------------------------------------
GOSSIP_BYTES_MAX: Final = 256 * KIB  # wire
QUERY_BYTES_MAX: Final = 256 * KIB  # wire
REPLY_BYTES_MAX: Final = 4 * MIB  # wire
OBJECT_BYTES_MAX: Final = 1 * MIB  # wire
FRAME_OVERHEAD_MAX: Final = 512  # wire: room for kind, names and bounds around a payload

# -- links: wire format ---------------------------------------------------------------------------
CHUNK_PAYLOAD_MAX: Final = 16_000  # wire
CHUNK_HEADER: Final = 8  # wire: class u8, stream u32, flags u8, length u16
RECORD_PLAIN_MAX: Final = 16_384  # wire: one Noise record carries whole chunks up to this
RECORD_TAG: Final = 16
HANDSHAKE_MESSAGE_MAX: Final = 1_024  # wire
RECORD_BYTES_MAX: Final = RECORD_PLAIN_MAX + RECORD_TAG
REKEY_RECORDS: Final = 1 << 20  # wire: per direction
HELLO_BYTES_MAX: Final = 4 * KIB  # wire
TOPICS_BYTES_MAX: Final = 12 * KIB  # wire

# -- links: behaviour -----------------------------------------------------------------------------
NOTSENT_LOWAT: Final = 16 * KIB  # unsent bytes below the scheduler, or a poll waits behind a body
FLUSH_RECORDS_MAX: Final = 32  # records written in one turn of the loop, then others get a turn
SCHEDULER_QUANTUM: Final = CHUNK_PAYLOAD_MAX  # deficit round robin within a class
CONTENT_SHARE_DIVISOR: Final = 9  # content gets 1 byte for every 9 of the others: 10 %
LINK_QUEUE_BYTES: Final = (1 * MIB, 1 * MIB, 2 * MIB, 4 * MIB, 8 * MIB)  # per class and link
LINK_QUEUE_ITEMS: Final = (4_096, 4_096, 1_024, 8_192, 1_024)
PARTIAL_STREAMS_MAX: Final = 64  # frames of one link being assembled at once
PARTIAL_BYTES_MAX: Final = 16 * MIB  # and their bytes together
HANDSHAKE_S: Final = 5.0
FIRST_MESSAGE_S: Final = 2.0  # of it, for whoever dialled us to say the first word
KEEPALIVE_S: Final = 10.0  # silence of ours after which a ping is sent
DEAD_S: Final = 25.0  # silence of the peer after which the link is dead
STALLED_S: Final = 30.0  # time a peer may leave our bytes unread
HOUSEKEEPING_S: Final = 5.0  # one timer for all links
LINK_AGE_S: Final = 24 * 3600.0  # then a new handshake
CROSS_DIAL_S: Final = 10.0  # two links of one pair younger than this: both dialled at once
CLOSE_GRACE_S: Final = 0.5  # for the goodbye to leave
LINK_KEY_S_MAX: Final = 8 * 24 * 3600  # a link key that claims to live longer is refused

# -- dialling and admission -----------------------------------------------------------------------
DIAL_BACKOFF_FIRST_S: Final = 0.05
DIAL_BACKOFF_MAX_S: Final = 10.0
DIAL_TRIES_UNKEPT: Final = 8
LINK_STABLE_S: Final = 10.0  # a link that lived this long starts a fresh backoff
DIAL_SECOND_PARTY_S: Final = 0.15  # the larger peer id waits this long for the other's dial
DIALS_AT_ONCE_MAX: Final = 16
ADDRESSES_MAX: Final = 4_096
LINKS_INBOUND_MAX: Final = 64
LINKS_OUTBOUND_MAX: Final = 64
HALF_OPEN_MAX: Final = 64
HALF_OPEN_GROUP_MAX: Final = 48  # of one /24 or /48: others find a place at once
ADMISSION_BURST: Final = 64  # handshakes per /24 or /48 at once
ADMISSION_PER_S: Final = 16
ADMISSION_GROUPS_MAX: Final = 4_096
LISTEN_BACKLOG: Final = 128

# -- gossip ---------------------------------------------------------------------------------------
FULL_MESH_PEERS: Final = 8
DEGREE: Final = 4
DEGREE_MIN: Final = 3
DEGREE_MAX: Final = 6
DEGREE_OUTBOUND_MIN: Final = 2
EAGER_BYTES_MAX: Final = 4 * KIB
GOSSIP_ID_BYTES: Final = 20  # wire: first bytes of sha256 over topic and data
ANNOUNCE_IDS_MAX: Final = 64  # wire: per frame, and per beat and link
ANNOUNCE_QUEUE_MAX: Final = 1_024  # waiting for their beat, per link
BEAT_S: Final = 0.1
PULL_NEXT_SOURCE_S: Final = 0.2
PULLS_OPEN_MAX: Final = 256
PULL_SOURCES_MAX: Final = 8
PULLS_PER_LINK_MAX: Final = 64
SERVED_PER_PEER_MAX: Final = 2
HELD_BYTES_MAX: Final = 32 * MIB  # announced payloads kept for pulls
HELD_ITEMS_MAX: Final = 4_096
HELD_S: Final = 20.0
FORWARD_EXPIRES_S: Final = 10.0
PENDING_VERDICTS_MAX: Final = 8_192
PENDING_BYTES_MAX: Final = 64 * MIB
SEEN_GENERATION_S: Final = 16.0
SEEN_PER_LINK: Final = 131_072  # new payloads of one link in one generation
SEEN_ITEMS_MAX: Final = 262_144  # in one generation, all links together

# -- inbox (the bounded sink) ---------------------------------------------------------------------
INBOX_LINK_ITEMS: Final = (1_024, 512, 128, 1_024, 128)  # per class and link
INBOX_LINK_BYTES: Final = (1 * MIB, 1 * MIB, 2 * MIB, 8 * MIB, 4 * MIB)
INBOX_CLASS_BYTES: Final = 32 * MIB  # all links together, per class
INBOX_EVENTS_MAX: Final = 4_096  # LinkUp, LinkDown, Health
INBOX_BATCH_MAX: Final = 512  # events handed out at once

# -- queries --------------------------------------------------------------------------------------
QUERIES_PER_PEER_MAX: Final = 256  # ours, open to one peer
HANDLERS_PER_PEER_MAX: Final = 256  # all protocols of one peer together
QUERY_TIMEOUT_MS_MAX: Final = 120_000  # wire: what a requester may ask us to work
CANCELLED_STREAMS_MAX: Final = 1_024  # replies still expected to straggle in

# -- content --------------------------------------------------------------------------------------
CONTENT_IDS_PER_QUERY: Final = 64  # wire
CONTENT_REPLY_BYTES: Final = 2 * MIB  # aim of one reply; one object may exceed it
CONTENT_INFLIGHT_PER_PEER: Final = 4
CONTENT_OPEN_MAX: Final = 64
CONTENT_PASSES: Final = 4  # times round the sources
CONTENT_PASS_WAIT_S: Final = 0.25
CONTENT_QUERY_S: Final = 5.0  # one source's time, within the caller's deadline
CONTENT_MEMORY_BYTES: Final = 64 * MIB  # the in-memory store of tests

# -- blame ----------------------------------------------------------------------------------------
BLAME_MALFORMED: Final = 50  # bytes that are wrong in themselves
BLAME_REJECT: Final = 20  # one rejected payload
BLAME_FLOOD: Final = 5
BLAME_WRONG_BYTES: Final = 50  # content that is not its id
BAN_AT: Final = 100
BLAME_DECAY_PER_S: Final = 1  # points forgiven per second
BAN_FIRST_S: Final = 60.0
BAN_MAX_S: Final = 24 * 3600.0
SCORES_MAX: Final = 4_096
BANS_MAX: Final = 4_096
FLOOD_FRAMES_BURST: Final = 16_384  # gossip frames a link may send at once
FLOOD_FRAMES_PER_S: Final = 8_192
THROTTLED_FRAMES_PER_S: Final = 64  # of an owner that is throttled instead of banned
THROTTLED_FRAMES_BURST: Final = 64
DROPS_REPORT_S: Final = 0.25  # drops are added up this long before the sink hears of them
