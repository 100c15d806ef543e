"""Settings of a node: flag > APOCRYPH_* > node.toml > preset > default, each with its source.

Strict: an unknown key anywhere is an error with a suggestion. Relative paths belong to the node's
folder. Knows no chain and starts nothing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from platformdirs import user_data_path

from node.errors import ConfigError, ConfigFileError, ConfigUnknownKey, suggestion
from node.settings import (
    KEYS,
    PRESETS,
    SECTIONS,
    Address,
    ApiSection,
    FabricSection,
    JournalSection,
    KnownPeer,
    NetworkSection,
    NodeSection,
    Parse,
)
from node.toml import parse_toml

FILE_NAME: Final = "node.toml"
FILE_BYTES_MAX: Final = 1024 * 1024
PREFIX: Final = "APOCRYPH_"
# Variables of commands, not settings of a node.
OTHER_VARIABLES: Final = (
    "NET",
    "HOME",
    "NODE",
    "TOKEN",
    "PRESET",
    "PASSWORD_FILE",
    "TRACE",
    "DEBUG",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a node. `folder`: its own. `sources`: where each key's value came from."""

    folder: Path
    preset: str
    node: NodeSection
    network: NetworkSection
    api: ApiSection
    fabric: FabricSection
    journal: JournalSection
    sources: Mapping[str, str]

    def path(self, value: str) -> Path:
        """A path of a setting; relative ones belong to the node's folder."""
        return self.folder / value

    @property
    def spec_path(self) -> Path:
        return self.path(self.node.spec)

    @property
    def key_path(self) -> Path:
        return self.path(self.node.key)

    @property
    def sign_path(self) -> Path:
        return self.folder / "sign.db"

    @property
    def chain_path(self) -> Path:
        return self.folder / "chain"

    @property
    def fabric_path(self) -> Path:
        return self.folder / "fabric"

    @property
    def journal_path(self) -> Path:
        return self.folder / "journal"

    @property
    def lock_path(self) -> Path:
        return self.folder / "lock"

    def value(self, key: str) -> Any:
        """The value of `section.key`. Raises ConfigUnknownKey."""
        _check_known(key, "the command line")
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)


def load(
    folder: Path,
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    preset: str = "public",
    file_required: bool = True,
) -> Config:
    """The settings of the node in `folder`.

    `flags`: `section.key` → value, None where the flag was not given. `environ`: os.environ unless
    given. Raises ConfigFileError, ConfigUnknownKey, ConfigError naming key, source and cause.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    path = folder / FILE_NAME
    from_file = _read_file(path, required=file_required)
    from_environ = _read_environ(os.environ if environ is None else environ)
    from_flags = {key: value for key, value in (flags or {}).items() if value is not None}
    for key in from_flags:
        _check_known(key, "the command line")
    sources: dict[str, str] = {}
    sections: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        values: dict[str, Any] = {}
        for setting in fields(kind):
            key = f"{section}.{setting.name}"
            layers = (
                ("flag", from_flags),
                (_variable(key), from_environ),
                (str(path), from_file),
                (f"preset {preset}", _preset(key, setting.metadata["presets"], preset)),
            )
            source, raw = _first(key, layers)
            sources[key] = source
            values[setting.name] = setting.default
            if source.startswith("preset"):
                values[setting.name] = raw
            elif source != "default":
                values[setting.name] = _parsed(key, source, setting.metadata["parse"], raw)
        sections[section] = kind(**values)
    config = Config(folder=folder, preset=preset, sources=sources, **sections)
    _check_together(config)
    return config


def _preset(key: str, presets: Mapping[str, object], preset: str) -> Mapping[str, object]:
    return {key: presets[preset]} if preset in presets else {}


def _first(key: str, layers: tuple[tuple[str, Mapping[str, object]], ...]) -> tuple[str, object]:
    for source, values in layers:
        if key in values:
            return source, values[key]
    return "default", None


def _parsed(key: str, source: str, parse: Parse, raw: object) -> Any:
    try:
        return parse(raw)
    except ValueError as error:
        raise ConfigError(f"{key} (from {source}): {error}") from error


def _check_together(config: Config) -> None:
    """What single values cannot say. Raises ConfigError naming the failing condition."""
    api = config.api
    if not api.listen.loopback and not api.token_file:
        raise ConfigError(
            f"api.listen {api.listen.text} is not loopback, so api.token_file must be set",
            hint="write a token into a file of mode 0600 and name it in api.token_file",
        )
    if not config.fabric.listen.loopback:
        raise ConfigError(f"fabric.listen {config.fabric.listen.text} must be loopback")


# ---- where values come from ----------------------------------------------------------------------


def _read_file(path: Path, *, required: bool) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        if required:
            raise ConfigFileError(f"there is no {path}") from error
        return {}
    except OSError as error:
        raise ConfigFileError(f"{path}: {error.strerror}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigFileError(f"{path} has more than {FILE_BYTES_MAX} bytes")
    try:
        document = parse_toml(raw.decode())
    except ValueError as error:
        raise ConfigFileError(f"{path}: {error}") from error
    found: dict[str, object] = {}
    for section, table in document.items():
        if section not in SECTIONS:
            near = suggestion(section, tuple(SECTIONS))
            raise ConfigUnknownKey(f"{path}: unknown section [{section}]{near}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} is a section, not a value")
        for name, value in table.items():
            _check_known(f"{section}.{name}", str(path))
            found[f"{section}.{name}"] = value
    return found


def _read_environ(environ: Mapping[str, str]) -> dict[str, object]:
    variables = {_variable(key): key for key in KEYS}
    known = (*variables, *(PREFIX + name for name in OTHER_VARIABLES))
    found: dict[str, object] = {}
    for name, value in environ.items():
        if name in variables:
            found[variables[name]] = value
        elif name.startswith(PREFIX) and name not in known:
            near = suggestion(name, known)
            raise ConfigUnknownKey(
                f"the environment has an unknown {name}{near}", hint=f"unset {name}"
            )
    return found


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()


def _check_known(key: str, source: str) -> None:
    if key not in KEYS:
        raise ConfigUnknownKey(f"{source}: unknown key {key}{suggestion(key, KEYS)}")


# ---- writing, and the folders of a user ----------------------------------------------------------


def render(values: Mapping[str, object] | None = None) -> str:
    """A node.toml that names every setting: those of `values` set, all others as comments.

    Raises ConfigUnknownKey, ConfigError for a value that would not be read back.
    """
    given = dict(values or {})
    for key in given:
        _check_known(key, "the settings to write")
    lines: list[str] = []
    for section, kind in SECTIONS.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for setting in fields(kind):
            key = f"{section}.{setting.name}"
            value = given.get(key, setting.default)
            if key in given:
                _parsed(key, "the settings to write", setting.metadata["parse"], _plain(value))
            mark = "" if key in given else "# "
            lines += [f"# {setting.metadata['doc']}", f"{mark}{setting.name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, Address | KnownPeer):
        return value.text
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _toml(value: object) -> str:
    value = _plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join([_toml(item) for item in value]) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML string


def data_folder() -> Path:
    """Where this user's keys and testnets live: APOCRYPH_HOME, else platformdirs' data folder."""
    home = os.environ.get(PREFIX + "HOME")
    return Path(home) if home else user_data_path("apocryph")


def keys_folder() -> Path:
    """The user's keystore."""
    return data_folder() / "keys"


def testnets_folder() -> Path:
    """The testnets of this user, one folder a name."""
    return data_folder() / "testnets"


def testnet_accounts(name: str) -> Path:
    """The account files of a testnet."""
    return testnets_folder() / name / "accounts"
