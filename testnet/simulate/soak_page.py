"""The report of a soak as one page: a table of the parts, then each with its tables and pictures.

Knows neither parts nor files.
"""

from collections.abc import Mapping

from testnet.simulate.limits import TOLD_MAX
from testnet.simulate.page import Page
from testnet.simulate.report import NO_PLOTS, finding, has_plots, origin
from testnet.simulate.sections import Section
from testnet.simulate.totals import shown_s


def soak_page(
    *, command: str, sections: Mapping[str, Section], wall_s: float, interrupted: bool
) -> str:
    """The whole HTML file. `sections`: by the name of the part."""
    built = Page("Soak")
    built.text(f"{origin()} {shown_s(wall_s)} of real time.", faint=True)
    failing = [name for name, section in sections.items() if not section.good]
    if interrupted:
        built.verdict("interrupted", good=False)
    if failing:
        built.verdict(f"failed: {', '.join(failing)}", good=False)
    elif sections and not interrupted:
        whole = all(section.complete for section in sections.values())
        built.verdict("nothing failed", good=True, whole=whole)
    unfinished = [
        name for name, section in sections.items() if section.good and not section.complete
    ]
    if unfinished:
        built.text(f"Short of what they set out to do, for want of time: {', '.join(unfinished)}.")
    built.command(command)
    rows = [
        (name, _held(section), section.told, _state(section), shown_s(section.wall_s))
        for name, section in sections.items()
    ]
    built.table(("part", "held", "what came out", "as far as wanted", "took"), rows)
    if not has_plots():
        built.text(NO_PLOTS, faint=True)
    for name, section in sections.items():
        _part(built, name, section)
    return built.html()


def _held(section: Section) -> bool | None:
    """Null where it was cut short and held as far as it came."""
    return None if section.good and not section.complete else section.good


def _state(section: Section) -> str:
    return "yes" if section.complete else "no"


def _part(built: Page, name: str, section: Section) -> None:
    built.section(f"{name}: {section.about}")
    built.verdict(section.told, good=section.good, whole=section.complete)
    for each in section.findings[:TOLD_MAX]:
        finding(built, each)
    more = len(section.findings) - TOLD_MAX
    if more > 0:
        built.text(f"and {more:,} seeds more; the data beside this page has all", faint=True)
    for text in section.texts:
        if "\n" in text:
            built.command(text)
        else:
            built.text(text)
    for table in section.tables:
        if table.caption:
            built.text(table.caption, faint=True)
        built.table(table.columns, table.rows)
    if section.pictures:
        built.pictures(section.pictures)
