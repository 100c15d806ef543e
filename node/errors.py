"""What a node can refuse or fail at, as one tree: a code, one line of cause, a hint, an exit code.

The rows are in `codes.py`; an error class names its row. Knows nothing of how an error is shown.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar

from node.codes import CODES as CODES
from node.codes import Code as Code
from node.codes import Exit as Exit


class NodeError(Exception):
    """Root of the expected errors of this package; `str()` is one line of cause."""

    code: ClassVar[str] = "bug"

    def __init__(self, cause: str, *, hint: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint or self.row.hint

    @property
    def row(self) -> Code:
        return CODES[self.code]

    @property
    def exit(self) -> Exit:
        return self.row.exit

    @property
    def retryable(self) -> bool:
        return self.row.retryable


class UsageError(NodeError):
    code = "usage"


class NotFound(NodeError):
    code = "not_found"


class ConfigError(NodeError):
    """Settings that cannot be used."""

    code = "config_value"


class ConfigUnknownKey(ConfigError):
    code = "config_unknown_key"


class ConfigFileError(ConfigError):
    code = "config_file"


class OpenFilesTooFew(ConfigError):
    """The system lets this process open too few files."""

    code = "open_files"


class FileUnusable(NodeError):
    """A file that the user named."""

    code = "file"


class FolderTaken(ConfigError):
    """A new node's folder that is not empty."""

    code = "folder_taken"


class JoinUnusable(ConfigError):
    code = "join"


class SpecUnusable(ConfigError):
    code = "spec"


class KeyFileError(NodeError):
    """A key that cannot be used."""

    code = "key_format"


class KeyMissing(KeyFileError):
    code = "key_missing"


class KeyExists(KeyFileError):
    code = "key_exists"


class KeyPasswordWrong(KeyFileError):
    code = "key_password"


class KeyReadable(KeyFileError):
    code = "key_readable"


class KeyTestnetOnly(KeyFileError):
    code = "key_testnet_only"


class KeyKind(KeyFileError):
    """A peer's key where an account's is wanted, or the other way round."""

    code = "key_kind"


class PasswordFileError(KeyFileError):
    code = "password_file"


class Busy(NodeError):
    """Somebody else holds it; `owner_pid` is 0 where the owner is not known."""

    code = "folder_busy"

    def __init__(self, cause: str, *, owner_pid: int = 0, hint: str = "") -> None:
        super().__init__(cause, hint=hint)
        self.owner_pid = owner_pid


class KeyInUse(Busy):
    code = "key_in_use"


class PortBusy(Busy):
    code = "port_busy"


class AlreadyRunning(Busy):
    code = "running"


class Stopped(NodeError):
    """Somebody asked for its end before it was ready."""

    code = "stopped"


class StoreError(NodeError):
    """The store refuses or fails; what was committed before stands."""

    code = "store_failed"


class StoreFull(StoreError):
    """No room for a write: it was undone as a whole, nothing else is lost."""

    code = "store_full"


class StoreCorrupt(StoreError):
    """Bytes on disk are not what was written."""

    code = "store_corrupt"


class StoreOtherChain(StoreError):
    code = "store_other_chain"


class StoreFormat(StoreError):
    code = "store_format"


class SignError(NodeError):
    """The signer will not sign."""

    code = "sign_refused"


class SignRecordCorrupt(SignError):
    code = "sign_corrupt"


class SignRecordMissing(SignError):
    code = "sign_missing"


class SignRecordOther(SignError):
    code = "sign_other"


class SignRecordOld(SignError):
    """The chain shows own signatures that the record does not know."""

    code = "sign_old"


class TwinFound(SignError):
    code = "twin"


class JournalCorrupt(NodeError):
    code = "journal_corrupt"


class Halted(NodeError):
    code = "halted"


class ChainForked(NodeError):
    """Two certified blocks at one height, or one that the checkpoint contradicts."""

    code = "forked"


class TrustTooOld(NodeError):
    code = "trust"


class CheckpointRefused(NodeError):
    code = "checkpoint"


class NotProvable(NodeError):
    code = "not_provable"


class Unreachable(NodeError):
    code = "unreachable"


class Denied(NodeError):
    """A token that is missing, or that lacks the right."""

    code = "denied"


class WrongChain(NodeError):
    """Another chain answers at a testnet's address."""

    code = "wrong_chain"


class TimedOut(NodeError):
    """Indefinite: it may still happen."""

    code = "timeout"


class Rejected(NodeError):
    """Definite: `reason` is the receipt's or the pool's own code."""

    code = "rejected"

    def __init__(self, cause: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(cause, hint=hint)
        self.reason = reason


class AccountUnknown(NodeError):
    code = "account_unknown"


class MessageInvalid(NodeError):
    code = "message_invalid"


class ProofRefused(NodeError):
    code = "proof"


class CheckFailed(NodeError):
    """A check of the product's own: the answer is no."""

    code = "check_failed"


class Interrupted(NodeError):
    """Ctrl-C; what was known by then is told."""

    code = "interrupted"


def suggestion(word: str, known: Sequence[str]) -> str:
    """` (did you mean X?)` for the nearest known word, else nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def explain(code: str) -> str:
    """What `apocryph explain CODE` prints. Raises NotFound for an unknown code."""
    row = CODES.get(code)
    if row is None:
        raise NotFound(f"no error code {code!r}{suggestion(code, tuple(CODES))}")
    again = "the same command may work later" if row.retryable else "the same command fails again"
    return f"{row.name} (exit {row.exit.value}; {again})\n\n{row.text}\n\nWhat to do: {row.hint}"
