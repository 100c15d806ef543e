"""Text forms: every key and id has one spelling, and only that one is read (wire: Text)."""

import hashlib
import string

import multihash
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import TextError
from consensus.ids import (
    ACCOUNT_TYPE,
    PEER_TYPE,
    account_text,
    content_id,
    hash_from_text,
    hash_of_id,
    hash_text,
    id_from_text,
    id_of_hash,
    id_text,
    is_id,
    key_from_text,
    key_text,
    peer_text,
)

KEY = bytes(range(32))
LETTERS = string.ascii_lowercase + string.digits + "=" + string.ascii_uppercase
DIGESTS = st.binary(min_size=32, max_size=32)


def accepted(read, texts) -> list[str]:
    """The texts that `read` takes; it may refuse with TextError and nothing else."""
    found = []
    for text in texts:
        try:
            read(text)
        except TextError:
            continue
        found.append(text)
    return found


@given(DIGESTS, st.sampled_from((PEER_TYPE, ACCOUNT_TYPE)))
def test_a_key_comes_back_from_its_text(key, kind):
    text = key_text(key, kind)
    assert text.startswith("apx1") and len(text) == 64
    assert key_from_text(text, kind) == key


def test_peer_and_account_texts_are_not_mistaken_for_each_other():
    with pytest.raises(TextError, match="other way round"):
        key_from_text(peer_text(KEY), ACCOUNT_TYPE)
    with pytest.raises(TextError, match="other way round"):
        key_from_text(account_text(KEY), PEER_TYPE)


@given(DIGESTS)
def test_an_id_comes_back_from_its_text(digest):
    text = id_text(id_of_hash(digest))
    assert text.startswith("b") and len(text) == 59
    assert hash_of_id(id_from_text(text)) == digest


@given(DIGESTS)
def test_a_hash_comes_back_from_its_text(digest):
    assert hash_from_text(hash_text(digest)) == digest


@pytest.mark.parametrize(
    ("text", "read", "last_letters"),
    [  # a key's last letter is decided by the checksum, the others' have 3 and 1 bits of hash
        (peer_text(KEY), lambda text: key_from_text(text, PEER_TYPE), 1),
        (id_text(id_of_hash(KEY)), id_from_text, 8),
        (hash_text(KEY), hash_from_text, 2),
    ],
    ids=["key", "id", "hash"],
)
def test_one_spelling_only(text, read, last_letters):
    # The last letter holds padding bits: without care several letters would decode to one value.
    found = accepted(read, [text[:-1] + letter for letter in LETTERS])
    assert text in found and len(found) == last_letters
    assert len({read(other) for other in found}) == last_letters
    others = [
        text.upper(),
        text[:4] + text[4:].upper(),
        text[:-3] + text[-3:].upper(),
        text + "=",
        text + "====",
        text + "a",
        text[:-1],
        " " + text,
        text + "\n",
        text.replace("a", "\u0430"),  # Cyrillic a
        "",
    ]
    assert accepted(read, [other for other in others if other != text]) == []


def test_every_single_wrong_letter_of_a_key_is_refused():
    text = peer_text(KEY)
    for at in range(len(text)):
        wrong = [text[:at] + letter + text[at + 1 :] for letter in LETTERS if letter != text[at]]
        assert accepted(lambda text: key_from_text(text, PEER_TYPE), wrong) == []


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567", min_size=58, max_size=58))
def test_what_is_read_as_an_id_is_written_the_same(letters):
    text = "b" + letters
    try:
        identifier = id_from_text(text)
    except TextError:
        return
    assert id_text(identifier) == text


@pytest.mark.parametrize(
    "prefix", ["01701220", "01711320", "01711221", "00711220", "12200000", "01551220"]
)
def test_only_cidv1_of_dag_cbor_and_sha256_is_an_id(prefix):
    raw = bytes.fromhex(prefix) + KEY
    assert not is_id(raw)
    with pytest.raises(TextError, match="CIDv1"):
        id_from_text(id_text(raw))


@given(st.binary(max_size=64))
def test_content_ids_agree_with_py_multihash(raw):
    expected = b"\x01\x71" + multihash.encode(hashlib.sha256(raw).digest(), "sha2-256")
    assert content_id(raw) == expected
    assert is_id(content_id(raw))
