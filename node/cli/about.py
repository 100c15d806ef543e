"""`apocryph explain CODE` and `apocryph version`."""

from collections.abc import Mapping
from typing import Any

import click

from node.cli.output import Output, with_output
from node.codes import Exit


@click.command()
@click.argument("code", required=False)
@with_output
def explain(code: str | None, output: Output) -> Exit:
    """What an error code means and what to do; without a code: all codes."""
    from node.codes import CODES
    from node.refusals import REFUSALS, explain_any

    if code is None:
        codes = [*CODES, *REFUSALS]
        rows: list[tuple[str, int, str]] = [(c.name, c.exit, c.text) for c in CODES.values()]
        rows += [(r.code, Exit.REJECTED, r.meaning) for r in REFUSALS.values()]
        shown = [(name, int(exit_), _first_sentence(text)) for name, exit_, text in rows]
        return output.result({"codes": codes}, output.table(("code", "exit", "means"), shown))
    text = explain_any(code)
    return output.result({"code": code, "text": text}, text)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition(": ")[0].rstrip(".")


@click.command()
@with_output
def version(output: Output) -> Exit:
    """Versions of this installation."""
    data = versions()
    return output.result(data, versions_text(data))


def versions_text(data: Mapping[str, Any]) -> str:
    return f"apocryph {data['apocryph']} (protocol {data['protocol']}, Python {data['python']})"


def versions() -> dict[str, Any]:
    """Of this package, of Python, of what is native, of libraries."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from node.execution.registry import NATIVE

    def of(name: str) -> str:
        try:
            return installed(name)
        except PackageNotFoundError:
            return "not installed"

    libraries = ("aiohttp", "grpcio", "libipld", "lmdb", "pynacl", "uvloop")
    return {
        "apocryph": of("apocryph"),
        "python": platform.python_version(),
        "protocol": 1,
        "native": sorted(NATIVE.classes),
        "libraries": {name: of(name) for name in libraries},
    }
