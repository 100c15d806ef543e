"""Keys on disk: encrypted keystores in the form of EIP-2335, and plain keys of testnets.

A key file that others can read is refused, a key that runs already is refused, no file is ever
overwritten. Knows no records and signs nothing.
"""

import hashlib
import hmac
import json
import os
import re
import stat
import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from platformdirs import user_runtime_path, user_state_path

from consensus.ids import KEY_BYTES, account_text, hash_text, peer_text
from node.errors import (
    KeyExists,
    KeyFileError,
    KeyInUse,
    KeyMissing,
    KeyPasswordWrong,
    KeyReadable,
    KeyTestnetOnly,
)
from node.lock import FileLock

SCRYPT_N: Final = 2**18  # 1 s and 256 MiB: for users
SCRYPT_R: Final = 8
SCRYPT_N_MAX: Final = 2**20  # a file may not ask for more memory than 1 GiB
PBKDF2_ROUNDS_MAX: Final = 2**22
FILE_BYTES_MAX: Final = 64 * 1024
PASSWORD_CHARACTERS_MIN: Final = 8
SECRET_BYTES: Final = 32
PEER, ACCOUNT = "peer", "account"
TESTNET_ONLY: Final = "testnet-only"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCRYPT_MEMORY_FACTOR: Final = 160  # bytes per n·r: 128 and slack


class LoadedKey(NamedTuple):
    """A secret in memory, with what its file says of it."""

    name: str
    secret: bytes  # the Ed25519 seed
    public: bytes
    kind: str  # peer or account
    testnet_only: bool

    @property
    def text(self) -> str:
        return key_text_of(self.public, self.kind)


class KeyEntry(NamedTuple):
    """What is known of a key without its password."""

    name: str
    public: bytes
    kind: str
    testnet_only: bool
    path: Path

    @property
    def text(self) -> str:
        return key_text_of(self.public, self.kind)


def public_of(secret: bytes) -> bytes:
    """The public key of a seed."""
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def key_text_of(public: bytes, kind: str) -> str:
    """The text form of a peer's or an account's key."""
    return peer_text(public) if kind == PEER else account_text(public)


# ---- EIP-2335 -----------------------------------------------------------------------------------


def seal(
    secret: bytes, password: str, *, name: str, kind: str, scrypt_n: int = SCRYPT_N
) -> dict[str, Any]:
    """A keystore (JSON object) that only the password opens."""
    salt, iv, number = os.urandom(32), os.urandom(16), os.urandom(16).hex()
    kdf = {"dklen": 32, "n": scrypt_n, "r": SCRYPT_R, "p": 1, "salt": salt.hex()}
    key = _derived({"function": "scrypt", "params": kdf, "message": ""}, password)
    sealed = _ctr(key[:16], iv, secret)
    return {
        "crypto": {
            "kdf": {"function": "scrypt", "params": kdf, "message": ""},
            "checksum": {"function": "sha256", "params": {}, "message": _checksum(key, sealed)},
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": iv.hex()},
                "message": sealed.hex(),
            },
        },
        "description": name,
        "pubkey": public_of(secret).hex(),
        "path": "",
        "uuid": "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:])),
        "version": 4,
        "apocryph": {"kind": kind},
    }


def sealed_text(
    secret: bytes, password: str, *, name: str, kind: str, scrypt_n: int = SCRYPT_N
) -> str:
    """The text of a keystore's file. Raises KeyPasswordWrong for a password that is too short."""
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise KeyPasswordWrong(
            f"a password of less than {PASSWORD_CHARACTERS_MIN} characters",
            hint="choose a longer one",
        )
    sealed = seal(secret, password, name=name, kind=kind, scrypt_n=scrypt_n)
    return json.dumps(sealed, indent=2) + "\n"


def unseal(document: dict[str, Any], password: str) -> bytes:
    """The secret of a keystore. Raises KeyPasswordWrong, KeyFileError."""
    try:
        crypto = document["crypto"]
        if document["version"] != 4:
            raise KeyFileError(f"a keystore of version {document['version']!r}, not 4")
        for part, function in (("checksum", "sha256"), ("cipher", "aes-128-ctr")):
            if crypto[part]["function"] != function:
                raise KeyFileError(f"a keystore with {part} {crypto[part]['function']!r}")
        sealed = bytes.fromhex(crypto["cipher"]["message"])
        iv = bytes.fromhex(crypto["cipher"]["params"]["iv"])
        key = _derived(crypto["kdf"], password)
        wanted = str(crypto["checksum"]["message"])
        if not hmac.compare_digest(_checksum(key, sealed).encode(), wanted.lower().encode()):
            raise KeyPasswordWrong("the password does not open this keystore")
        return _ctr(key[:16], iv, sealed)
    except (KeyError, TypeError, ValueError, OverflowError, UnsupportedAlgorithm) as error:
        raise KeyFileError("not a keystore in the form of EIP-2335, version 4") from error


def _derived(kdf: dict[str, Any], password: str) -> bytes:
    """The decryption key. Raises KeyFileError for an unknown or too costly function."""
    params = kdf["params"]
    salt, length = bytes.fromhex(params["salt"]), int(params["dklen"])
    word = _password_bytes(password)
    if length < 32:
        raise KeyFileError("a keystore with a decryption key of less than 32 bytes")
    if kdf["function"] == "scrypt":
        n, r, p = int(params["n"]), int(params["r"]), int(params["p"])
        if not 1 < n <= SCRYPT_N_MAX or n & (n - 1) or not 1 <= r <= 8 or not 1 <= p <= 4:
            raise KeyFileError(f"scrypt n={n} r={r} p={p} is outside of what is accepted")
        memory = n * r * _SCRYPT_MEMORY_FACTOR + (1 << 20)
        return hashlib.scrypt(word, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)
    if kdf["function"] == "pbkdf2" and params["prf"] == "hmac-sha256":
        rounds = int(params["c"])
        if not 1 <= rounds <= PBKDF2_ROUNDS_MAX:
            raise KeyFileError(f"pbkdf2 c={rounds} is outside of what is accepted")
        return hashlib.pbkdf2_hmac("sha256", word, salt, rounds, length)
    raise KeyFileError(f"a keystore with key derivation {kdf['function']!r}")


def _password_bytes(password: str) -> bytes:
    """NFKD without control codes, in UTF-8 (EIP-2335)."""
    normal = unicodedata.normalize("NFKD", password)
    return "".join([c for c in normal if unicodedata.category(c) != "Cc"]).encode()


def _checksum(key: bytes, sealed: bytes) -> str:
    return hashlib.sha256(key[16:32] + sealed).hexdigest()


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


# ---- files --------------------------------------------------------------------------------------


def write_plain(path: Path, secret: bytes, *, name: str, kind: str) -> KeyEntry:
    """A testnet's key file, 0600, no password, marked testnet-only. Raises KeyExists."""
    public = public_of(secret)
    document = {
        TESTNET_ONLY: True,
        "name": name,
        "kind": kind,
        "pubkey": public.hex(),
        "secret": secret.hex(),
    }
    write_new(path, json.dumps(document, indent=2) + "\n")
    return KeyEntry(name, public, kind, True, path)


def write_new(path: Path, text: str) -> None:
    """A new file, 0600, whole or not at all. Raises KeyExists where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # made 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails where the name is taken
    except FileExistsError as error:
        raise KeyExists(f"{path} is there already") from error
    finally:
        os.unlink(temporary)


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object of a key file. Raises KeyMissing, KeyReadable, KeyFileError."""
    try:
        # Without waiting for whoever may write to it, should it be a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path} is not a plain file")
            if status.st_mode & 0o077:
                raise KeyReadable(
                    f"{path} has mode {status.st_mode & 0o777:04o}: others can read it",
                    hint=f"chmod 600 {path}",
                )
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise KeyMissing(f"there is no key file {path}") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        document = json.loads(raw) if len(raw) <= FILE_BYTES_MAX else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise KeyFileError(f"{path} is not a key file")
    return document


def entry_of(path: Path) -> KeyEntry:
    """What a key file says without a password. Raises as `read_document`, KeyFileError."""
    document = read_document(path)
    plain = document.get(TESTNET_ONLY) is True
    told = document if plain else document.get("apocryph", {})
    name = str(document.get("name" if plain else "description") or path.stem)
    try:
        public = bytes.fromhex(document["pubkey"])
        kind = str(told.get("kind", ACCOUNT))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KeyFileError(f"{path} names no public key") from error
    if len(public) != KEY_BYTES or kind not in (PEER, ACCOUNT):
        raise KeyFileError(f"{path} does not hold an Ed25519 key of a peer or an account")
    return KeyEntry(name, public, kind, plain, path)


def load(
    path: Path, password: Callable[[], str] | None = None, *, allow_testnet: bool
) -> LoadedKey:
    """The key of a file; `password` is asked only for an encrypted one.

    Raises KeyMissing, KeyReadable, KeyFileError, KeyPasswordWrong, and KeyTestnetOnly for a plain
    key where `allow_testnet` is not set.
    """
    entry = entry_of(path)
    document = read_document(path)
    if entry.testnet_only:
        if not allow_testnet:
            raise KeyTestnetOnly(f"{path} is a plain key, marked {TESTNET_ONLY}")
        try:
            secret = bytes.fromhex(document["secret"])
        except (KeyError, TypeError, ValueError) as error:
            raise KeyFileError(f"{path} holds no secret") from error
    else:
        if password is None:
            raise KeyPasswordWrong(f"{path} is encrypted and no password was given")
        secret = unseal(document, password())
    if len(secret) != SECRET_BYTES or public_of(secret) != entry.public:
        raise KeyFileError(f"{path}: its secret does not belong to its public key")
    return LoadedKey(entry.name, secret, entry.public, entry.kind, entry.testnet_only)


class Keystore:
    """A folder of encrypted keys, one file a name. `scrypt_n` is lower in tests only."""

    def __init__(self, folder: Path, *, scrypt_n: int = SCRYPT_N) -> None:
        self.folder = folder
        self._scrypt_n = scrypt_n

    def path(self, name: str) -> Path:
        """The file of a name. Raises KeyFileError for a name that is no plain file name."""
        if not _NAME.fullmatch(name):
            raise KeyFileError(
                f"{name!r} is no name of a key",
                hint="use letters, digits, dot, dash and underscore, at most 64",
            )
        return self.folder / f"{name}.json"

    def check_free(self, name: str) -> None:
        """Raises KeyExists, KeyFileError: before anybody is asked for a password."""
        if self.path(name).exists():
            raise KeyExists(f"there is a key {name!r} already")

    def add(self, name: str, secret: bytes, password: str, *, kind: str = ACCOUNT) -> KeyEntry:
        """Encrypt a secret under a new name. Raises KeyExists, KeyPasswordWrong for a short one."""
        path = self.path(name)
        self.check_free(name)
        text = sealed_text(secret, password, name=name, kind=kind, scrypt_n=self._scrypt_n)
        write_new(path, text)
        return KeyEntry(name, public_of(secret), kind, False, path)

    def new(self, name: str, password: str, *, kind: str = ACCOUNT) -> KeyEntry:
        """A fresh key from the system's dice."""
        return self.add(name, os.urandom(SECRET_BYTES), password, kind=kind)

    def entries(self) -> list[KeyEntry]:
        """All keys by name; a file that is no key raises."""
        if not self.folder.is_dir():
            return []
        return [entry_of(path) for path in sorted(self.folder.glob("*.json"))]

    def load(self, name: str, password: Callable[[], str] | None) -> LoadedKey:
        """Raises KeyMissing, KeyPasswordWrong and what `load` raises."""
        path = self.path(name)
        if not path.exists():
            raise KeyMissing(f"there is no key {name!r}")
        return load(path, password, allow_testnet=False)

    def entry(self, name: str) -> KeyEntry:
        """What is known of a key without its password. Raises KeyMissing, KeyFileError."""
        path = self.path(name)
        if not path.exists():
            raise KeyMissing(f"there is no key {name!r}")
        return entry_of(path)

    def export(self, name: str) -> str:
        """The encrypted keystore as text, to be kept or imported elsewhere."""
        path = self.entry(name).path
        return json.dumps(read_document(path), indent=2) + "\n"


def lock_key(public: bytes, folder: Path | None = None) -> FileLock:
    """Holds the key on this machine. Raises KeyInUse, naming the process that runs with it."""
    place = folder or _lock_folder()
    return FileLock(place / f"{hash_text(public)}.lock", "this key", busy=KeyInUse)


def _lock_folder() -> Path:
    """Of this user alone: who else can write there could take a lock away, or lay a link there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a system without a runtime folder: /tmp will do
        try:
            place = user_runtime_path("apocryph")
            (place / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:  # a link or a file of another user is in the way
            return user_state_path("apocryph") / "keys"
    if _is_private(place) and _is_private(place / "keys"):
        return place / "keys"
    return user_state_path("apocryph") / "keys"


def _is_private(folder: Path) -> bool:
    found = folder.lstat()
    mine = found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and mine and not found.st_mode & 0o022
