"""Frames to bytes and back; what is not a frame; the generated code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perper_core.errors import Invalid, TooLarge
from perper_core.ports import Appended, ExecutionInfo, StreamInfo
from perper_core.wire import codec
from perper_core.wire import frames as f
from perper_core.wire.proto.__main__ import generate
from tests.perper_core.wire_samples import COMMANDS, REPLIES, VECTORS, vectors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_go_round(name: str) -> None:
    command = f.Command(12345, COMMANDS[name])
    assert codec.decode_command(codec.encode_command(command)) == command


@pytest.mark.parametrize("name", REPLIES)
def test_replies_go_round(name: str) -> None:
    reply = f.Reply(0, REPLIES[name])
    assert codec.decode_reply(codec.encode_reply(reply)) == reply


def test_every_command_and_reply_has_a_sample() -> None:
    ops = {kind for union in get_args(f.Op) for kind in (get_args(union) or (union,))}
    assert {type(op) for op in COMMANDS.values()} == ops
    payloads = set(get_args(f.Payload))
    assert {Appended, StreamInfo, ExecutionInfo} < payloads
    assert {type(payload) for payload in REPLIES.values()} == payloads


def test_vectors() -> None:
    assert json.loads(VECTORS.read_text()) == vectors()


def test_frames_are_concatenations() -> None:
    commands = [f.Command(nonce, op) for nonce, op in enumerate(COMMANDS.values())]
    raws = [codec.encode_command(command) for command in commands]
    frame = codec.decode_commands(codec.join_commands(raws, [1, 127, 128, 1 << 40]))
    assert frame == f.CommandFrame(commands, (1, 127, 128, 1 << 40))
    assert codec.decode_commands(codec.join_commands(raws, [])).received == ()
    replies = [f.Reply(nonce, payload) for nonce, payload in enumerate(REPLIES.values())]
    joined = codec.join_replies([codec.encode_reply(reply) for reply in replies])
    assert codec.decode_replies(joined) == replies


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for decode in (
        codec.decode_command,
        codec.decode_commands,
        codec.decode_reply,
        codec.decode_replies,
        codec.decode_listen,
        codec.decode_error,
    ):
        try:
            decode(raw)
        except (Invalid, TooLarge):
            continue


@given(st.sampled_from(sorted(COMMANDS)), st.data())
def test_damaged_commands_are_decoded_or_refused(name: str, data: st.DataObject) -> None:
    raw = bytearray(codec.encode_command(f.Command(1, COMMANDS[name])))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        codec.decode_command(bytes(raw))
    except (Invalid, TooLarge):
        return


def test_what_does_not_fit_is_refused_when_encoded() -> None:
    for op in (
        f.Ack("s", "n", 1 << 64),
        f.Ack("s", "n", "x"),  # type: ignore[arg-type]
        f.Append("s", ("text",), (), (), None, None, None, True, False),  # type: ignore[arg-type]
        f.Finish("e", 1, object()),  # type: ignore[arg-type]
    ):
        with pytest.raises(Invalid):
            codec.encode_command(f.Command(1, op))
    with pytest.raises(TooLarge):
        codec.encode_command(f.Command(1, f.Finish("e", 1, b"x" * (1 << 20))))


def test_keys_and_items_must_match() -> None:
    raw = codec.encode_reply(f.Reply(0, f.Items(1, 1, [b"a"], [1, 2])))
    with pytest.raises(Invalid, match="differ in number"):
        codec.decode_reply(raw)


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    for name, text in generate(ROOT, tmp_path).items():
        assert (ROOT / "perper_core/wire/proto" / name).read_text() == text


def test_generated_code_has_a_pool_of_its_own() -> None:
    """The published client registers files of the same names in the default pool."""
    program = (
        "import perper_core.wire.codec\n"
        "from google.protobuf import descriptor_pool\n"
        "try:\n"
        "    descriptor_pool.Default().FindMessageTypeByName('perper.session.v1.Command')\n"
        "except KeyError:\n"
        "    print('private')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "private"
