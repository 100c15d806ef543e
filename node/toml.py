"""TOML from people, within bounds. Knows the format, no key."""

import re
import tomllib
from typing import Any, Final

# tomllib keeps every prefix of a dotted key: one of 25,000 parts costs gigabytes.
KEY_PARTS_MAX: Final = 64
# Possessive and from the start of a word: no text costs more than one pass.
_PART: Final = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{KEY_PARTS_MAX}}}")


def parse_toml(text: str) -> dict[str, Any]:
    """The document. Raises ValueError, with the reason, for whatever is not one."""
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of more than {KEY_PARTS_MAX} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
