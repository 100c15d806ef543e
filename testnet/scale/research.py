"""Whether the optional extra `research` is here: numpy for the model, matplotlib for pictures.

Imported by nothing that a validator runs.
"""

from importlib.util import find_spec

from node.errors import ConfigError

EXTRA = "research"
INSTALL_HINT = f"install the extra: pip install 'apocryph[{EXTRA}]'"


class ExtraMissing(ConfigError):
    """A command needs a library of the extra `research` that is not installed."""


def require(*modules: str) -> None:
    """Raises ExtraMissing, which names every one of the libraries that is not installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ExtraMissing(
            f"this command needs {' and '.join(missing)}, of the extra {EXTRA!r}", hint=INSTALL_HINT
        )
