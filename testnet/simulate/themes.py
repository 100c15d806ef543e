"""Colours of pictures: real ones for files, names of a page's variables for pictures inside it.

A page decides what the names mean in its light and dark form. Knows no picture.
"""

import re
from dataclasses import dataclass
from typing import Final

LINES: Final = 8
_MARK: Final = "#01fe"  # matplotlib wants colours; those that begin so are names
_MARKED: Final = re.compile(_MARK + "([0-9]{2})")
_INK, _FAINT, _GRID, _BAD, _SHADE, _FIRST = 1, 2, 3, 4, 5, 10


@dataclass(frozen=True, slots=True)
class Theme:
    """`paper` "none": whatever is behind it. `lines`: told apart by eye and by the colour-blind."""

    paper: str
    ink: str
    faint: str
    grid: str
    bad: str
    shade: str
    lines: tuple[str, ...]


LIGHT: Final = Theme(
    paper="#ffffff",
    ink="#1d2733",
    faint="#5f6b7a",
    grid="#e3e7ec",
    bad="#d03b3b",
    shade="#f2f5f8",
    lines=(
        "#2a78d6",
        "#eb6834",
        "#1baf7a",
        "#4a3aa7",
        "#eda100",
        "#e87ba4",
        "#008300",
        "#7c8794",
    ),
)
DARK: Final = Theme(
    paper="#14181d",
    ink="#e6eaef",
    faint="#98a3b0",
    grid="#2a313a",
    bad="#ef6b6b",
    shade="#1c222a",
    lines=(
        "#5598e7",
        "#e0763f",
        "#26a97c",
        "#9085e9",
        "#c98500",
        "#dc6f9b",
        "#4da84d",
        "#8b96a3",
    ),
)


def _name(number: int) -> str:
    return f"{_MARK}{number:02}"


PAGE: Final = Theme(
    paper="none",
    ink=_name(_INK),
    faint=_name(_FAINT),
    grid=_name(_GRID),
    bad=_name(_BAD),
    shade=_name(_SHADE),
    lines=tuple([_name(_FIRST + place) for place in range(LINES)]),
)


def with_variables(svg: str) -> str:
    """A picture drawn with PAGE, its colours as the variables of `variables`."""
    return _MARKED.sub(lambda found: f"var(--plot-{found.group(1)})", svg)


def variables(theme: Theme) -> str:
    """CSS that gives the names a meaning."""
    named = {
        _INK: theme.ink,
        _FAINT: theme.faint,
        _GRID: theme.grid,
        _BAD: theme.bad,
        _SHADE: theme.shade,
        **{_FIRST + place: colour for place, colour in enumerate(theme.lines)},
    }
    return "".join([f"--plot-{number:02}:{colour};" for number, colour in named.items()])
