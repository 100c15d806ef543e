"""`python -m tests.fuzz [TARGET …] --seconds N`: fuzz by hand; what fails goes into the corpus.

`--list` names the targets, `--renew` writes the valid inputs of the corpus again, `--replay FILE`
runs one input. Exit code 1: something failed.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.ended import ended
from tests.fuzz.fuzz_target import INPUT_BYTES_MAX, Target, failure, keep, renew, shrunk
from tests.fuzz.fuzz_targets import TARGETS

BATCH = 20
SECONDS = 10.0


def main(words: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("target", nargs="*", metavar="TARGET", help="default: all")
    arguments.add_argument("--seconds", type=float, default=SECONDS, help="for each target")
    arguments.add_argument("--seed", type=int, default=None, help="default: the time")
    arguments.add_argument("--json", action="store_true", help="one line a target")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--renew", action="store_true")
    arguments.add_argument("--replay", type=Path, metavar="FILE", help="with one TARGET")
    given = arguments.parse_args(words)
    unknown = [name for name in given.target if name not in TARGETS]
    if unknown:
        arguments.error(f"no target {unknown[0]}; --list names them")
    if not (math.isfinite(given.seconds) and given.seconds > 0):
        arguments.error(f"--seconds is a number above 0, not {given.seconds:g}")
    chosen = [TARGETS[name] for name in given.target or TARGETS]
    if given.replay is not None:
        if len(given.target) != 1:
            arguments.error("--replay needs one TARGET")
        return replay_file(chosen[0], given.replay)
    if given.list:
        print("\n".join(f"{each.name:24} {len(each.corpus())} inputs" for each in chosen))
        return 0
    if given.renew:
        for each in chosen:
            print(f"{each.name:24} {renew(each)} seeds")
        return 0
    seed = time.time_ns() if given.seed is None else given.seed
    failed = 0
    for each in chosen:
        try:
            found = fuzz(each, given.seconds, seed)
        finally:
            each.release()
        failed += found["failed"] is not None
        print(json.dumps(found) if given.json else told(found), flush=True)
    return 1 if failed else 0


def replay_file(target: Target, path: Path) -> int:
    try:
        raw = path.read_bytes()
    except OSError as error:
        print(f"python -m tests.fuzz: {path}: {error.strerror}", file=sys.stderr)
        return 2
    return replay(target, raw)


def replay(target: Target, raw: bytes) -> int:
    """Lets the error out, with where it came from; 0 when there is none."""
    try:
        print("taken" if target.run(raw) else "refused")
    finally:
        target.release()
    return 0


def fuzz(target: Target, seconds: float, seed: int) -> dict[str, Any]:
    """Until something fails or the time is over; the same seed draws the same inputs."""
    random = Random(f"{seed} {target.name}")
    started, count = time.monotonic(), 0
    found: dict[str, Any] = {"target": target.name, "seed": seed, "failed": None}
    while time.monotonic() < started + seconds and found["failed"] is None:
        for raw in target.inputs(random, BATCH):
            count += 1
            if failure(target, raw) is not None:
                small = shrunk(target, raw[:INPUT_BYTES_MAX])
                path = keep(target, small, "failed")
                last = failure(target, small)
                assert last is not None, "shrunk to what fails"
                replayed = f"python -m tests.fuzz {target.name} --replay {os.path.relpath(path)}"
                found["failed"] = {"place": last.place, "error": last.text, "replay": replayed}
                break
    return {**found, "inputs": count, "seconds": round(time.monotonic() - started, 1)}


def told(found: dict[str, Any]) -> str:
    line = f"{found['target']:24} {found['inputs']:8} inputs in {found['seconds']} s"
    failed = found["failed"]
    if failed is None:
        return line
    return f"{line}: FAILED (seed {found['seed']})\n  {failed['error']}\n  {failed['replay']}"


if __name__ == "__main__":
    sys.exit(ended(main))
