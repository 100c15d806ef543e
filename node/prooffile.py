"""Proof files: canonical bytes of a proof as base32 in a JSON file (wire: Proof file).

The file has nothing but the proof, so every bit of it is judged; its one spelling is the one that
`file_text` writes. Knows nothing of what is proved: `consensus.proofs` does.
"""

import json
from base64 import b32decode, b32encode
from typing import Final

from consensus.errors import InvalidProof
from consensus.proofs import PROOF_BYTES_MAX

VERSION: Final = 1
TEXT_BYTES_MAX: Final = PROOF_BYTES_MAX * 8 // 5 + 1024


def file_text(raw: bytes) -> str:
    """The file of a proof's bytes."""
    proof = b32encode(raw).decode().rstrip("=").lower()
    return json.dumps({"apocryph_proof": VERSION, "proof": proof}, indent=1) + "\n"


def read_file(content: bytes) -> bytes:
    """The proof's bytes. Raises InvalidProof("file form") for anything but what `file_text` writes
    (a `--json` envelope around it is taken off first)."""
    if len(content) > TEXT_BYTES_MAX:
        raise InvalidProof("file form", f"more than {TEXT_BYTES_MAX} bytes")
    try:
        text = content.decode()
        document = json.loads(text)
        if document.get("schema") == "apocryph/1":
            text = document["data"]["file"]
            document = json.loads(text)
        proof = document["proof"]
        raw = b32decode(proof.upper() + "=" * (-len(proof) % 8))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidProof("file form", "not a proof in a JSON file") from error
    if file_text(raw) != text:
        raise InvalidProof("file form", "not as `apocryph proof` writes it")
    return raw
