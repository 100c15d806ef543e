"""One self-contained HTML page: sections, tables, pictures, commands. It loads nothing.

Light and dark follow the reader's system. It is well-formed XML too. Knows no simulation.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from testnet.simulate.themes import DARK, LIGHT, Theme, variables

Cell = object


def _theme(theme: Theme, *, good: str, tint: str) -> str:
    own = f"--paper:{theme.paper};--ink:{theme.ink};--faint:{theme.faint};--grid:{theme.grid};"
    own += f"--bad:{theme.bad};--shade:{theme.shade};--good:{good};--tint:{tint};"
    return own + variables(theme)


_CSS: Final = f"""
:root {{ color-scheme: light dark; {_theme(LIGHT, good="#127a4b", tint="#2a78d6")} }}
@media (prefers-color-scheme: dark) {{
  :root {{ {_theme(DARK, good="#4cc38a", tint="#5598e7")} }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; padding: 2.2rem 1.4rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 }}
h2 {{ font-size: 1.15rem; margin: 2.6rem 0 .7rem }}
p {{ margin: .5rem 0; max-width: 48rem }}
.faint, .unit {{ color: var(--faint) }}
.unit {{ font-size: .85rem; margin: .25rem 0 0 }}
.verdict {{ font-size: 1.1rem; font-weight: 600; margin: .7rem 0 }}
.good {{ color: var(--good) }} .bad {{ color: var(--bad) }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .7rem;
  margin: 1.4rem 0 }}
.tile {{ background: var(--shade); border-radius: .5rem; padding: .7rem .9rem }}
.tile b {{ display: block; font-size: 1.2rem; line-height: 1.4; white-space: nowrap;
  font-variant-numeric: tabular-nums }}
.tile span {{ color: var(--faint); font-size: .82rem }}
.wide {{ overflow-x: auto; margin: .8rem 0 }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: .34rem 1.1rem .34rem 0; white-space: nowrap;
  border-bottom: 1px solid var(--grid) }}
th {{ color: var(--faint); font-weight: 600; vertical-align: bottom }}
th:first-child, td:first-child, .left {{ text-align: left }}
td.text {{ white-space: normal; text-align: left; min-width: 16rem }}
code, pre {{ font: .86rem/1.5 ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace }}
pre {{ background: var(--shade); border-radius: .5rem; padding: .75rem .95rem; margin: .5rem 0;
  overflow-x: auto; user-select: all }}
.finding {{ border-left: 3px solid var(--bad); padding: .1rem 0 .1rem 1rem; margin: 1rem 0 }}
figure {{ margin: 1.2rem 0 }}
figcaption {{ color: var(--faint); font-size: .86rem; margin-top: .3rem; max-width: 48rem }}
.plot {{ width: 100%; height: auto; display: block }}
.chart {{ max-width: 34rem }}
.plot * {{ stroke-linejoin: round }}
.pair {{ display: grid; gap: 0 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)) }}
details {{ margin: .8rem 0 }} summary {{ cursor: pointer; color: var(--tint) }}
"""


class Page:
    """Collects the body; every text that is handed in is escaped, pictures are not."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = [f"<h1>{escape(title)}</h1>"]

    def html(self) -> str:
        """The whole file."""
        body = "\n".join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
            f"<title>{escape(self.title)}</title>\n<style>{_CSS}</style>\n"
            f"</head>\n<body>\n{body}\n</body>\n</html>\n"
        )

    # ---- words ----------------------------------------------------------------------------------

    def section(self, title: str) -> None:
        self._parts.append(f"<h2>{escape(title)}</h2>")

    def text(self, words: str, *, faint: bool = False) -> None:
        self._parts.append(f"<p{_class('faint' if faint else '')}>{escape(words)}</p>")

    def verdict(self, words: str, *, good: bool, whole: bool = True) -> None:
        """`whole`: all of it was done; what is short of that and held so far is neither."""
        mark = "✗" if not good else "✓" if whole else "…"
        mood = _mood(good) if whole or not good else "faint"
        self._parts.append(f'<p class="verdict {mood}">{mark} {escape(words)}</p>')

    def command(self, line: str) -> None:
        """A command line that can be copied."""
        self._parts.append(f"<pre>{escape(line)}</pre>")

    def tiles(self, pairs: Iterable[tuple[str, str]]) -> None:
        """(value, what it is)."""
        tiles = [
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
            for value, what in pairs
        ]
        self._parts.append(f'<div class="tiles">{"".join(tiles)}</div>')

    def finding(self, head: str, lines: Iterable[str], command: str) -> None:
        """Something that failed, and how to see it again."""
        told = "".join([f"<p>{escape(line)}</p>" for line in lines])
        self._parts.append(
            f'<div class="finding"><p><b>{escape(head)}</b></p>{told}'
            f"<pre>{escape(command)}</pre></div>"
        )

    def details(self, summary: str, text: str) -> None:
        """Text that is shown when it is asked for."""
        inner = f"<pre>{escape(text)}</pre>"
        self._parts.append(f"<details><summary>{escape(summary)}</summary>{inner}</details>")

    # ---- tables and pictures --------------------------------------------------------------------

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """A `bool` is a mark; the first column is text, and one with a cell longer than numbers."""
        held = [list(row) for row in rows]
        texts = [any(_is_text(row[place]) for row in held) for place in range(len(columns))]
        head = "".join(
            [
                f"<th{_class('left' if text else '')}>{escape(column)}</th>"
                for column, text in zip(columns, texts, strict=True)
            ]
        )
        body = "".join([f"<tr>{_cells(row, texts)}</tr>" for row in held])
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def picture(self, svg: str, caption: str) -> None:
        self.pictures([(svg, caption)])

    def pictures(self, pairs: Iterable[tuple[str, str]]) -> None:
        """SVG elements beside one another, as far as the page is wide."""
        figures = [
            f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
            for svg, caption in pairs
        ]
        inner = "".join(figures)
        self._parts.append(f'<div class="pair">{inner}</div>' if len(figures) > 1 else inner)


_TEXT_FROM: Final = 32  # characters


def _is_text(cell: Cell) -> bool:
    return isinstance(cell, str) and len(cell) > _TEXT_FROM


def _cells(row: Sequence[Cell], texts: Sequence[bool]) -> str:
    """A column in which one cell is text is text."""
    return "".join([_cell(cell, text) for cell, text in zip(row, texts, strict=True)])


def _cell(cell: Cell, is_text: bool) -> str:
    if isinstance(cell, bool):
        return f'<td class="{_mood(cell)}">{"✓" if cell else "✗"}</td>'
    text = "–" if cell is None else str(cell)
    return f"<td{_class('text' if is_text else '')}>{escape(text)}</td>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _mood(good: bool) -> str:
    return "good" if good else "bad"
