"""Settings: precedence, strictness with suggestions, sources, what is written is read."""

from pathlib import Path

import pytest

from consensus.ids import account_text, peer_text
from node import config
from node.config import FILE_NAME, load, render
from node.errors import ConfigError, ConfigFileError, ConfigUnknownKey, Exit
from node.settings import KEYS, Address, parse_address

PEER = f"{peer_text(bytes(range(32)))}@127.0.0.1:7360"


def write(folder: Path, text: str) -> Path:
    (folder / FILE_NAME).write_text(text)
    return folder


def test_defaults_and_presets(tmp_path: Path) -> None:
    public = load(tmp_path, environ={}, file_required=False)
    local = load(tmp_path, environ={}, file_required=False, preset="local")
    assert public.network.listen == Address("0.0.0.0", 7360)
    assert local.network.listen == Address("127.0.0.1", 0)
    assert public.sources["network.listen"] == "default"
    assert local.sources["network.listen"] == "preset local"
    assert local.journal.keep == "ring"
    assert set(local.sources) == set(KEYS)


def test_flag_before_variable_before_file_before_preset(tmp_path: Path) -> None:
    write(
        tmp_path, '[api]\nlisten = "127.0.0.1:1"\n[node]\nname = "file"\n[journal]\nsegments = 3\n'
    )
    environ = {"APOCRYPH_API_LISTEN": "127.0.0.1:2", "APOCRYPH_NODE_NAME": "variable"}
    flags = {"api.listen": "127.0.0.1:3", "node.name": None}
    found = load(tmp_path, flags=flags, environ=environ, preset="local")
    assert found.api.listen == Address("127.0.0.1", 3)
    assert (found.node.name, found.journal.segments) == ("variable", 3)
    assert found.fabric.listen == Address("127.0.0.1", 0)
    assert found.sources["api.listen"] == "flag"
    assert found.sources["node.name"] == "APOCRYPH_NODE_NAME"
    assert found.sources["journal.segments"] == str(tmp_path / FILE_NAME)
    assert found.value("journal.segments") == 3


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[node]\nnmae = 'x'", r"unknown key node\.nmae \(did you mean node\.name\?\)"),
        ("[nodes]\nname = 'x'", r"unknown section \[nodes\] \(did you mean node\?\)"),
        ("name = 'x'", r"unknown section \[name\]"),
        ("[consensus]\nslots = 5", r"unknown section \[consensus\]"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(ConfigUnknownKey, match=cause) as caught:
        load(write(tmp_path, text), environ={})
    assert FILE_NAME in str(caught.value)
    assert caught.value.exit == Exit.CONFIG


def test_an_unknown_variable_or_flag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnknownKey, match="did you mean APOCRYPH_API_LISTEN") as caught:
        load(tmp_path, environ={"APOCRYPH_API_LISTN": "x"}, file_required=False)
    assert caught.value.hint == "unset APOCRYPH_API_LISTN"
    with pytest.raises(ConfigUnknownKey, match=r"did you mean api\.listen"):
        load(tmp_path, flags={"api.listn": "x"}, environ={}, file_required=False)
    load(tmp_path, environ={"APOCRYPH_NET": "a", "OTHER_API": "x"}, file_required=False)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[node]\nmining = 'perhaps'", r"node\.mining .*: expected true or false"),
        ("[node]\nname = 7", r"node\.name .*: expected text"),
        ("[node]\nlog = 'warn'", r"expected one of .* \(did you mean warning\?\)"),
        ("[journal]\nsegments = 1", r"journal\.segments .*: 2 ≤ 1 ≤ 1024 does not hold"),
        ("[journal]\nsegments = 2.5", "expected a whole number"),
        ("[journal]\nsegments = true", "expected a whole number"),
        ("[journal]\nkeep = 'rings'", r"did you mean ring\?"),
        ("[api]\nlisten = '127.0.0.1'", "expected host:port"),
        ("[api]\nlisten = '127.0.0.1:70000'", "port 70000 ≤ 65535 does not hold"),
        ("[api]\nlisten = 7358", "expected host:port"),
        ("[network]\npeers = ['nobody']", "expected id@host:port"),
        (f"[network]\npeers = ['{account_text(bytes(32))}@h:1']", "a peer where an account"),
        ("[network]\npeers = 'x'", "expected id@host:port"),
        ("[network]\nkind = 'ipfs'", "expected one of mesh"),
        ("node = 'x'", "node is a section"),
        ("[api]\nlisten = '0.0.0.0:80'", r"not loopback, so api\.token_file must be set"),
        ("[fabric]\nlisten = '0.0.0.0:80'", "must be loopback"),
    ],
)
def test_a_value_that_cannot_be_used_names_key_and_condition(
    tmp_path: Path, text: str, cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        load(write(tmp_path, text), environ={})
    assert caught.value.exit == Exit.CONFIG


def test_values_from_variables_are_parsed(tmp_path: Path) -> None:
    environ = {
        "APOCRYPH_NODE_MINING": "no",
        "APOCRYPH_JOURNAL_SEGMENTS": "4",
        "APOCRYPH_NETWORK_PEERS": f"{PEER},{PEER}",
        "APOCRYPH_API_LISTEN": "[::1]:80",
    }
    found = load(tmp_path, environ=environ, file_required=False)
    assert (found.node.mining, found.journal.segments) == (False, 4)
    assert [peer.text for peer in found.network.peers] == [PEER, PEER]
    assert found.api.listen == Address("::1", 80)
    assert found.api.listen.text == "[::1]:80" and found.api.listen.loopback


@pytest.mark.parametrize("content", [b"[node", b"\xff\xfe", b"x = 1\nx = 2", b"#" * 1_100_000])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigFileError, match=FILE_NAME):
        load(tmp_path, environ={})


def test_a_missing_file_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="there is no"):
        load(tmp_path, environ={})
    with pytest.raises(ConfigError, match="preset 'lokal'"):
        load(tmp_path, environ={}, preset="lokal")


def test_paths_belong_to_the_folder_of_the_node(tmp_path: Path) -> None:
    write(tmp_path, '[node]\nspec = "/elsewhere/spec.cbor"\n')
    found = load(tmp_path, environ={})
    assert found.spec_path == Path("/elsewhere/spec.cbor")
    assert found.key_path == tmp_path / "key.json"
    names = [found.sign_path, found.chain_path, found.fabric_path, found.journal_path]
    assert [path.name for path in names] == ["sign.db", "chain", "fabric", "journal"]
    assert found.lock_path == tmp_path / "lock"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    given = {
        "node.name": 'a "name" \\ with\nlines',
        "node.mining": False,
        "api.listen": Address("127.0.0.1", 99),
        "network.peers": (config.KnownPeer(bytes(range(32)), "h", 1),),  # type: ignore[arg-type]
        "journal.segments": 5,
    }
    found = load(write(tmp_path, render(given)), environ={})
    for key, value in given.items():
        assert found.value(key) == value
        assert found.sources[key] == str(tmp_path / FILE_NAME)
    assert found.sources["node.log"] == "default"


def test_an_empty_file_is_all_comments_and_all_defaults(tmp_path: Path) -> None:
    text = render()
    for key in KEYS:
        assert f"# {key.partition('.')[2]} = " in text
    default = load(tmp_path, environ={}, file_required=False)
    assert load(write(tmp_path, text), environ={}).sources == default.sources
    uncommented = "\n".join(
        line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()
    )
    again = load(write(tmp_path, uncommented), environ={})
    assert all(again.value(key) == default.value(key) for key in KEYS)


def test_what_would_not_be_read_back_is_not_written() -> None:
    with pytest.raises(ConfigUnknownKey):
        render({"node.nmae": "x"})
    with pytest.raises(ConfigError, match="2 ≤ 1"):
        render({"journal.segments": 1})


def test_addresses_parse() -> None:
    assert parse_address("example.org:1") == Address("example.org", 1)
    assert parse_address("[::]:0") == Address("::", 0)
    for wrong in ("", ":1", "h:", "h:x", "h:-1", None):
        with pytest.raises(ValueError, match="host:port"):
            parse_address(wrong)


def test_folders_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APOCRYPH_HOME", str(tmp_path))
    assert config.keys_folder() == tmp_path / "keys"
    assert config.testnet_accounts("n") == tmp_path / "testnets" / "n" / "accounts"
    monkeypatch.delenv("APOCRYPH_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert config.testnets_folder() == tmp_path / "apocryph" / "testnets"


@pytest.mark.parametrize("host", ["a" * 64, "a." * 127, "a" * 1_000_000])
def test_the_name_of_a_host_is_bounded(host: str) -> None:
    with pytest.raises(ValueError, match=r"^.{1,33}: too long for the name of a host$"):
        parse_address(f"{host}:1")
    assert parse_address("a" * 63 + ".org:1").port == 1
