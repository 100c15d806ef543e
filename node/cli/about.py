"""`apocryph explain CODE` and `apocryph version`."""

import click

from node.cli.output import Output, with_output
from node.codes import Exit


@click.command()
@click.argument("code", required=False)
@with_output
def explain(code: str | None, output: Output) -> Exit:
    """What an error code means and what to do; without a code: all codes."""
    from node.errors import CODES
    from node.refusals import REFUSALS, explain_any

    if code is None:
        codes = [*CODES, *REFUSALS]
        return output.result({"codes": codes}, "\n".join(codes))
    text = explain_any(code)
    return output.result({"code": code, "text": text}, text)


@click.command()
@with_output
def version(output: Output) -> Exit:
    """Versions of this installation."""
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
    data = {
        "apocryph": of("apocryph"),
        "python": platform.python_version(),
        "protocol": 1,
        "native": sorted(NATIVE.classes),
        "libraries": {name: of(name) for name in libraries},
    }
    return output.result(data, f"apocryph {data['apocryph']} (protocol 1, Python {data['python']})")
