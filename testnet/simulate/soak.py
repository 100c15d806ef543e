"""`apocryph sim soak`: all that takes long, part by part within a bound of minutes; page and JSON.

`python -m testnet.simulate.soak` is the same command. Knows the list of the parts, none of them.
"""

import json
import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.cli.output import INTERRUPTED, Output
from node.codes import Exit
from node.errors import CheckFailed, NodeError, UsageError, suggestion
from node.errors import Interrupted as Stopped
from testnet.simulate.findings import code_version, python_version
from testnet.simulate.limits import MINUTES
from testnet.simulate.sections import Interrupted, Part, Section, Stint
from testnet.simulate.soak_crashes import crashes
from testnet.simulate.soak_page import soak_page
from testnet.simulate.soak_programs import fuzz, model, planted
from testnet.simulate.soak_scale import scale
from testnet.simulate.soak_seeds import adversaries, gossip, storm, weather
from testnet.simulate.soak_tables import balancing, mute, shares
from testnet.simulate.soak_whispers import whispered
from testnet.simulate.totals import MINUTE_S, shown_s

PAGE_NAME: Final = "soak.html"
DATA_NAME: Final = "soak.json"
# The short ones first: what they leave of their time goes to those behind them.
PARTS: Final = (
    Part(name="mute", about="blocks a minute with mute slots", share=3, run=mute),
    Part(name="balancing", about="rounds with balancing slots", share=3, run=balancing),
    Part(name="shares", about="slots follow hashes, 50/30/20 %", share=3, run=shares),
    Part(name="gossip", about="messages and bytes, 4/16/64 peers", share=4, run=gossip),
    Part(name="scale", about="Snowball alone, to a million nodes", share=2, run=scale),
    Part(name="model", about="all reachable states of the votes", share=10, run=model),
    Part(name="planted", about="defects that tests must catch", share=14, run=planted),
    Part(name="fuzz", about="inputs that nobody would send", share=4, run=fuzz),
    Part(name="weather", about="every other scenario", share=12, run=weather),
    Part(name="adversaries", about="liars alone and in pairs", share=26, run=adversaries),
    Part(name="whispers", about="words for one, then all are up", share=6, run=whispered),
    Part(name="crashes", about="crash and restart at every step", share=15, run=crashes),
    Part(name="storm", about="everything at once", share=50, run=storm),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What was asked for. `parts`: names, none for all."""

    minutes: float = MINUTES
    parts: Sequence[str] = ()
    jobs: int = 1
    out: Path = field(default_factory=lambda: Path("soak"))
    first_seed: int = 1

    @property
    def command(self) -> str:
        words = ["apocryph", "sim", "soak", "--minutes", f"{self.minutes:g}"]
        words += [word for name in self.parts for word in ("--only", name)]
        return shlex.join([*words, "--jobs", str(self.jobs), "--seed", str(self.first_seed)])


@dataclass(slots=True)
class Soaked:
    """What came out so far."""

    asked: Soak
    sections: dict[str, Section] = field(default_factory=dict)  # by the name of the part
    wall_s: float = 0.0
    interrupted: bool = False

    @property
    def good(self) -> bool:
        return not self.interrupted and all(each.good for each in self.sections.values())

    def record(self) -> dict[str, Any]:
        """The data beside the page."""
        return {
            "commit": code_version(),
            "python": python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "command": self.asked.command,
            "wall_s": round(self.wall_s, 1),
            "good": self.good,
            "interrupted": self.interrupted,
            "parts": {
                name: {
                    "good": each.good,
                    "complete": each.complete,
                    "told": each.told,
                    "wall_s": round(each.wall_s, 1),
                    **each.record,
                }
                for name, each in self.sections.items()
            },
        }


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names, in the order of PARTS. Raises UsageError."""
    known = [part.name for part in PARTS]
    for name in names:
        if name not in known:
            hint = f"one of {', '.join(known)}"
            raise UsageError(f"no part {name!r}{suggestion(name, known)}", hint=hint)
    return [part for part in PARTS if not names or part.name in names]


def list_parts(output: Output) -> Exit:
    """The parts, and what each has of the minutes."""
    whole = sum([part.share for part in PARTS])
    rows = [(part.name, f"{100 * part.share // whole} %", part.about) for part in PARTS]
    data = {"parts": [{"name": each.name, "about": each.about} for each in PARTS]}
    return output.result(data, output.table(("PART", "TIME", "WHAT IT IS"), rows))


def run(asked: Soak, output: Output, *, parts: Sequence[Part] | None = None) -> int:
    """Part after part; page and data are written anew after each. Ctrl-C ends it with those."""
    wanted = list(parts) if parts is not None else chosen(asked.parts)
    asked.out.mkdir(parents=True, exist_ok=True)
    soaked = Soaked(asked)
    began = time.monotonic()
    end = began + MINUTE_S * asked.minutes
    for place, part in enumerate(wanted):
        left = sum([each.share for each in wanted[place:]])
        now = time.monotonic()
        stint = Stint(
            jobs=asked.jobs,
            deadline=now + max(0.0, end - now) * part.share / left,
            first_seed=asked.first_seed,
            out=asked.out,
            output=output,
        )
        section = _done(part, stint, soaked)
        section.about, section.wall_s = part.about, time.monotonic() - now
        soaked.sections[part.name] = section
        soaked.wall_s = time.monotonic() - began
        output.note(f"{_mark(section)} {part.name}: {section.told} ({shown_s(section.wall_s)})")
        _write(soaked)
        if soaked.interrupted:
            break
    return _tell(soaked, output)


def _done(part: Part, stint: Stint, soaked: Soaked) -> Section:
    """A part that raises has failed; the others go on."""
    try:
        return part.run(stint)
    except Interrupted as ended:
        soaked.interrupted = True
        return ended.section
    except KeyboardInterrupt:
        soaked.interrupted = True
        return Section(good=True, complete=False, told="interrupted")
    except Exception as error:
        where = "" if isinstance(error, NodeError) else traceback.format_exc()
        return Section(
            good=False,
            complete=False,
            told=f"{type(error).__name__}: {error}".splitlines()[0],
            texts=[where] if where else [],
        )


def _mark(section: Section) -> str:
    if not section.good:
        return "✗"
    return "✓" if section.complete else "…"


def _write(soaked: Soaked) -> None:
    out = soaked.asked.out
    data = json.dumps(soaked.record(), indent=1, ensure_ascii=False)
    (out / DATA_NAME).write_text(data + "\n", encoding="utf-8")
    page = soak_page(
        command=soaked.asked.command,
        sections=soaked.sections,
        wall_s=soaked.wall_s,
        interrupted=soaked.interrupted,
    )
    (out / PAGE_NAME).write_text(page, encoding="utf-8")


def _tell(soaked: Soaked, output: Output) -> int:
    out = soaked.asked.out
    if soaked.interrupted:
        output.warn(f"interrupted after {len(soaked.sections)} parts")
    errors: list[NodeError] = [
        CheckFailed(f"{name}: {each.told}", hint=_shown_again(name, each))
        for name, each in soaked.sections.items()
        if not each.good
    ]
    if soaked.interrupted:
        errors.append(Stopped(f"interrupted after {len(soaked.sections)} parts"))
    rows = [
        (_mark(each), name, shown_s(each.wall_s), each.told)
        for name, each in soaked.sections.items()
    ]
    replays = [finding.replay for each in soaked.sections.values() for finding in each.findings[:1]]
    written = f"wrote {out / PAGE_NAME} and {out / DATA_NAME} (commit {code_version()})"
    text = [output.table(("", "PART", "TOOK", "WHAT CAME OUT"), rows), *replays, written]
    record = {**soaked.record(), "page": str(out / PAGE_NAME), "data": str(out / DATA_NAME)}
    code = output.result(record, "\n".join(text), ok=soaked.good, errors=errors)
    return INTERRUPTED if soaked.interrupted else code


def _shown_again(name: str, section: Section) -> str:
    if section.findings:
        return section.findings[0].replay
    return f"apocryph sim soak --only {name}"


if __name__ == "__main__":
    from node.cli.output import run as run_command
    from testnet.simulate.cli import soak

    sys.exit(run_command(soak, sys.argv[1:], name="python -m testnet.simulate.soak"))
