"""The closed table of error codes: exit code, hint, explanation. Knows nothing of what raises them.

No hint ever asks to delete data.
"""

from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command (experience: Commands)."""

    OK = 0
    NEGATIVE = 1  # a negative answer
    USAGE = 2
    CONFIG = 3  # config or key
    UNREACHABLE = 4
    REJECTED = 5  # rejected or failed
    TIMEOUT = 6  # outcome unknown
    SAFETY = 7  # refused for safety
    BUSY = 8  # port, lock
    BUG = 70
    INTERRUPTED = 130  # by Ctrl-C


@dataclass(frozen=True, slots=True)
class Code:
    """One row: `hint` is a command or an act that helps; `text` explains at length."""

    name: str
    exit: Exit
    hint: str
    text: str
    retryable: bool = False


_TABLE = (
    Code(
        "usage",
        Exit.USAGE,
        "see the command with --help",
        (
            "The command line does not say what to do: a missing or unknown argument, or a value "
            "of the wrong form."
        ),
    ),
    Code(
        "not_found",
        Exit.NEGATIVE,
        "check the spelling; `apocryph testnet status` shows what is there",
        ("The thing you asked for does not exist at this node. That is an answer, not a failure."),
    ),
    Code(
        "config_unknown_key",
        Exit.CONFIG,
        "correct the spelling in the file that the error names",
        (
            "A configuration file or an APOCRYPH_* variable names a setting that does not exist. "
            "Unknown settings are refused, because a misspelled one would silently not apply."
        ),
    ),
    Code(
        "config_value",
        Exit.CONFIG,
        "correct the value in the place that the error names",
        (
            "A setting has a value of the wrong type, outside its range, or one that contradicts "
            "another setting."
        ),
    ),
    Code(
        "config_file",
        Exit.CONFIG,
        (
            "check that the file exists, can be read and is TOML; `apocryph node init` writes a "
            "good one"
        ),
        "A configuration file is missing, unreadable, or not valid TOML.",
    ),
    Code(
        "file",
        Exit.CONFIG,
        "check the path, and who may use it",
        "A file that was named is missing, or may not be read or written by this user.",
    ),
    Code(
        "folder_taken",
        Exit.CONFIG,
        "choose another folder, or one that is empty",
        (
            "The folder of a new node holds something already, perhaps another node. Nothing in it "
            "was changed."
        ),
    ),
    Code(
        "join",
        Exit.CONFIG,
        "ask for the file that `apocryph chain show --out FILE` writes, unchanged",
        "The file that tells how to join a chain is damaged, or contradicts itself.",
    ),
    Code(
        "spec",
        Exit.CONFIG,
        "use the spec.cbor that the founders of the chain gave out, unchanged",
        (
            "The chain specification cannot start a chain: bytes that are not canonical, an "
            "unknown kind of consensus, or parameters that contradict each other. The cause names"
            " the failing inequality."
        ),
    ),
    Code(
        "key_missing",
        Exit.CONFIG,
        "`apocryph key list` shows the keys; `apocryph key new NAME` makes one",
        "There is no key of that name or in that file.",
    ),
    Code(
        "key_exists",
        Exit.CONFIG,
        "choose another name; a key is never overwritten",
        "A key of that name is already in the keystore.",
    ),
    Code(
        "key_password",
        Exit.CONFIG,
        "try again with --password-file FILE; there is no way around a lost password",
        ("The password does not open this keystore. It was checked before anything was decrypted."),
    ),
    Code(
        "key_format",
        Exit.CONFIG,
        "restore the file from its backup",
        (
            "The key file is not a keystore of a form that this version reads (EIP-2335 form, or "
            "a testnet-only plain key)."
        ),
    ),
    Code(
        "key_readable",
        Exit.CONFIG,
        "chmod 600 the file that the error names",
        (
            "A key file can be read or written by others. A key that others may have read should "
            "be replaced."
        ),
    ),
    Code(
        "key_testnet_only",
        Exit.CONFIG,
        "make a key of your own with `apocryph key new NAME`",
        (
            "The key is a plain testnet key. It is stored without a password, so nothing but a "
            "local testnet uses it."
        ),
    ),
    Code(
        "key_kind",
        Exit.CONFIG,
        "`apocryph key list` shows kinds; `apocryph key new NAME --peer` makes a node's key",
        (
            "A key of the other kind is wanted: keys of kind peer own slots and sign for a node, "
            "keys of kind account hold tokens and sign messages. One key is never both."
        ),
    ),
    Code(
        "password_file",
        Exit.CONFIG,
        "name a file of mode 0600 whose first line is the password",
        "The file with the password is missing, cannot be read, or holds none.",
    ),
    Code(
        "open_files",
        Exit.CONFIG,
        "raise the limit of open files: `ulimit -n 4096`, or LimitNOFILE= in the service unit",
        (
            "The system lets this process open fewer files than a node with all its connections "
            "needs. It does not start, because it would fail later, in the middle of its work."
        ),
    ),
    Code(
        "key_in_use",
        Exit.BUSY,
        "stop the process that the error names, or run this one with another key",
        (
            "Another process on this machine runs with the same key. Two signers with one key "
            "would sign contradicting votes and lose their slots."
        ),
        retryable=True,
    ),
    Code(
        "folder_busy",
        Exit.BUSY,
        "stop the process that the error names, or use another folder",
        (
            "Another live process holds the lock of this folder. The lock is gone when that "
            "process is gone."
        ),
        retryable=True,
    ),
    Code(
        "port_busy",
        Exit.BUSY,
        "stop the owner that the error names, or choose another port where the error says",
        "The port is used by another process.",
        retryable=True,
    ),
    Code(
        "running",
        Exit.BUSY,
        "`apocryph testnet status` shows it; `apocryph testnet down` stops it",
        "It is already running.",
        retryable=True,
    ),
    Code(
        "stopped",
        Exit.NEGATIVE,
        "start it again; nothing was lost",
        (
            "Somebody stopped it before it was ready: `apocryph testnet down`, or a signal. "
            "Everything that ran for it has ended."
        ),
        retryable=True,
    ),
    Code(
        "store_other_chain",
        Exit.CONFIG,
        "use the folder that belongs to this chain, or the spec that belongs to this folder",
        "The folder holds data of another chain than the one asked for. Nothing was changed.",
    ),
    Code(
        "store_format",
        Exit.CONFIG,
        "run the version of apocryph that wrote this folder",
        (
            "The folder was written in a format that this version does not read. Nothing was "
            "changed."
        ),
    ),
    Code(
        "store_full",
        Exit.SAFETY,
        "free space on the disk that the error names, then start again",
        (
            "The disk, a quota or a file-size limit left no room for a write. The write was "
            "undone as a whole; everything written before it is there."
        ),
        retryable=True,
    ),
    Code(
        "store_corrupt",
        Exit.SAFETY,
        (
            "keep the folder as it is, look at the disk, restore a backup or catch up into a new "
            "folder with the same key and sign.db"
        ),
        (
            "Bytes on disk are not the bytes that were written: a checksum or a structural rule "
            "of a page failed. The node refuses to act on them."
        ),
    ),
    Code(
        "store_failed",
        Exit.SAFETY,
        "look at the disk and the system log, then start again",
        (
            "The operating system refused a read or a write of the store. The last complete "
            "transaction stands."
        ),
        retryable=True,
    ),
    Code(
        "sign_corrupt",
        Exit.SAFETY,
        (
            "restore both copies of sign.db from the same moment, or retire this key and join "
            "with a new one"
        ),
        (
            "The sign record is damaged, so it is not known what this key has signed. Signing "
            "anything now could contradict it and lose the slots; a new key is safe."
        ),
    ),
    Code(
        "sign_missing",
        Exit.SAFETY,
        "put the sign.db of this key back in its place",
        (
            "The chain's data says that this key has signed, but its sign record is gone. Without"
            " it a signature could contradict an earlier one."
        ),
    ),
    Code(
        "sign_other",
        Exit.CONFIG,
        "use the sign.db that belongs to this key and chain",
        "The sign record belongs to another key or another chain.",
    ),
    Code(
        "sign_old",
        Exit.SAFETY,
        (
            "put the newest sign.db of this key back; where there is none, keep the folder, let "
            "its slots lapse and join with a new key"
        ),
        (
            "A block holds a signature of this key that is newer than its sign record: the record"
            " comes from a backup, or the key runs elsewhere. Signing on could contradict what "
            "was signed since and lose the slots. The node stopped before it signed anything."
        ),
    ),
    Code(
        "sign_refused",
        Exit.SAFETY,
        "if this goes on, look for a second instance that uses the same key",
        (
            "A request to sign contradicts what the sign record says was signed, or goes back "
            "behind it. It was refused and counted; nothing left the signer."
        ),
    ),
    Code(
        "twin",
        Exit.SAFETY,
        "stop the other instance; one key runs in one place only",
        (
            "Another live instance of this key answered a challenge. This one stopped, so that "
            "the two do not sign contradicting votes."
        ),
    ),
    Code(
        "journal_corrupt",
        Exit.SAFETY,
        "replay an older segment; a running node does not need its journal",
        "A segment of the journal has a damaged record that is not at its end.",
    ),
    Code(
        "halted",
        Exit.SAFETY,
        "keep the folder, and report the height and block that the error names",
        (
            "A certified block failed this node's own execution. The chain stopped here and "
            "everything is kept."
        ),
    ),
    Code(
        "forked",
        Exit.SAFETY,
        (
            "keep the folder; compare both blocks with people you trust; when it is known which "
            "one holds, start with node.checkpoint = HEIGHT:ID of it"
        ),
        (
            "Two blocks of one height are certified, or the certified one is not the checkpoint's."
            " More than a third of the slots, or of their old keys, signed both. The node stopped "
            "and chose neither; fork.json in its folder shows both."
        ),
    ),
    Code(
        "trust",
        Exit.SAFETY,
        "pass --checkpoint HEIGHT:ID (node.checkpoint) of a recent block from a source you trust",
        (
            "Genesis, or the newest block that is trusted, is older than the chain's trust_ms. "
            "Keys of old tables may have been sold or stolen and can rewrite what followed at no "
            "cost, so a younger block has to be vouched for by somebody you trust."
        ),
    ),
    Code(
        "checkpoint",
        Exit.SAFETY,
        "compare the checkpoint with several sources; give one that the proof or folder passes",
        (
            "What was shown does not pass through the block that you vouched for: another block "
            "stands at its height, or none."
        ),
    ),
    Code(
        "not_provable",
        Exit.NEGATIVE,
        "ask several of its owners, or run a node of that chain that polls for itself",
        (
            "The chain decides by polls alone (consensus `probabilistic`) and makes no "
            "certificates. Who did not poll cannot verify what it decided: no proofs, no light "
            "client, no import into other chains."
        ),
    ),
    Code(
        "unreachable",
        Exit.UNREACHABLE,
        "`apocryph testnet status`, or pass the node's address with --api URL",
        "No node answered at that address.",
        retryable=True,
    ),
    Code(
        "denied",
        Exit.CONFIG,
        "set APOCRYPH_TOKEN to the node's token; for `fabric` pass --token",
        "The node wants a token that was not given, or the one that was given lacks the right.",
    ),
    Code(
        "wrong_chain",
        Exit.SAFETY,
        "`apocryph testnet ls` shows what runs; choose with --net, or start the one that is meant",
        (
            "The node that answers at the testnet's address belongs to another chain: its port "
            "is used by another testnet now. Nothing was asked of it and nothing was sent."
        ),
    ),
    Code(
        "timeout",
        Exit.TIMEOUT,
        "look what became of it, then try again; the same signed message may be sent twice",
        "The time was up before an answer came. The outcome is unknown: it may still happen.",
        retryable=True,
    ),
    Code(
        "rejected",
        Exit.REJECTED,
        "`apocryph tx ID` shows the receipt",
        (
            "The message was refused, or its handler rejected it. Its receipt says why; the "
            "agent's state is unchanged."
        ),
    ),
    Code(
        "account_unknown",
        Exit.USAGE,
        "`apocryph testnet accounts` and `apocryph key list` show the names",
        "There is no account of that name in the wallet or the testnet.",
    ),
    Code(
        "message_invalid",
        Exit.USAGE,
        "`apocryph query` lists the agents, `apocryph query AGENT` what one takes",
        (
            "The message cannot be built: unknown type, wrong field, wrong form of a value, or "
            "too large."
        ),
    ),
    Code(
        "proof",
        Exit.NEGATIVE,
        "ask another node for the proof, and check the chain id",
        "The proof does not verify. The cause names the check that failed.",
    ),
    Code(
        "check_failed",
        Exit.NEGATIVE,
        "run the command that each failure is told with; it shows the failure again",
        (
            "What was checked does not hold: a simulated run failed one of its checkers, or a "
            "planted fault was not caught. That is an answer about what was checked, told with "
            "each failure."
        ),
    ),
    Code(
        "interrupted",
        Exit.INTERRUPTED,
        "run the command again to its end; what it told until then is right",
        "Ctrl-C ended the command before it was done. What was known by then is told and written.",
    ),
    Code(
        "bug",
        Exit.BUG,
        "report it with the lines that the error shows; APOCRYPH_DEBUG=1 shows more",
        (
            "Something happened that the code says cannot happen. Data on disk is in the state of"
            " the last complete transaction."
        ),
    ),
)
CODES: dict[str, Code] = {row.name: row for row in _TABLE}
