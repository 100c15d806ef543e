"""The tidy test: sizes, names, and what pure modules may not touch (style 11–13, layout: traps)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("apocryph", "bench", "consensus", "network", "node", "perper_core", "testnet")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "manager", "base", "misc")
PURE = (
    "consensus",
    "network/envelope.py",
    "network/gossip.py",
    "network/queries.py",
    "network/peers.py",
    "network/weather.py",
    "network/mesh/noise.py",
    "perper_core/errors.py",
    "perper_core/limits.py",
    "perper_core/records.py",
    "perper_core/executions.py",
    "perper_core/streams.py",
    "perper_core/states.py",
    "perper_core/leases.py",
    "perper_core/capabilities.py",
    "perper_core/wire/session.py",
    "node/core.py",
    "node/hold.py",
    "node/pool.py",
    "node/catchup.py",
    "node/codec.py",
    "node/speech.py",
    "node/execution",
    "node/sdk",
    "testnet/sim",
)
IMPURE_MODULES = {
    "asyncio",
    "grpc",
    "lmdb",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "wire/proto" not in path.as_posix():
                yield path


def pure_sources() -> Iterator[Path]:
    for name in PURE:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", list(sources()), ids=ids)
def test_file_is_tidy(path: Path) -> None:
    text = path.read_text()
    assert path.stem not in FORBIDDEN_NAMES, "a file without a noun"
    assert len(text.splitlines()) <= FILE_LINES_MAX
    tree = ast.parse(text)
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), "a module opens with what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", list(pure_sources()), ids=ids)
def test_pure_module_touches_no_world(path: Path) -> None:
    found = IMPURE_MODULES & set(imported(ast.parse(path.read_text())))
    assert not found, f"a pure module imports {sorted(found)}"


@pytest.mark.parametrize("path", list(pure_sources()), ids=ids)
def test_pure_module_does_not_iterate_sets(path: Path) -> None:
    """The order of a set of bytes differs between processes (hash seeds)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.For | ast.comprehension):
            source = node.iter
            literal = isinstance(source, ast.Set | ast.SetComp)
            call = (
                isinstance(source, ast.Call)
                and isinstance(source.func, ast.Name)
                and source.func.id in ("set", "frozenset")
            )
            assert not literal and not call, f"line {source.lineno}: iterates a set"


def test_nothing_tells_how_it_was_made() -> None:
    """No registry address, no path of a machine, in anything that is committed."""
    hosts = ("pypi" + ".org", "files.python" + "hosted", "proxy.go" + "lang", "repo1." + "maven")
    paths = ("/work" + "/", "/root" + "/")
    kept = (".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", "Makefile", ".cfg", ".in")
    skipped = (".venv", ".git", ".mypy_cache", ".ruff_cache", ".hypothesis")
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_dir() or parts[0] in skipped or not path.name.endswith(kept):
            continue
        text = path.read_text(errors="replace")
        for needle in (*hosts, *paths):
            assert needle not in text, f"{path.relative_to(ROOT)} holds {needle!r}"
