"""`python -m tests.model [--json] [--full]`: the model check of protocol §7, with its report.

Exit code 0 if every configuration holds and every weakened clause fails as it should, else 1.
"""

import argparse
import json
import sys

from tests.ended import ended
from tests.model import report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of text")
    parser.add_argument("--full", action="store_true", help="the large ones too: some minutes")
    chosen = parser.parse_args()
    if not chosen.json:
        return 0 if report.write(chosen.full, lambda line: print(line, flush=True)) else 1
    configurations = list(report.configuration_rows(chosen.full))
    weakened = list(report.weakened_rows(chosen.full))
    healings = list(report.healing_rows())
    rows = {"configurations": configurations, "weakened": weakened, "healed": healings}
    json.dump(rows, sys.stdout, indent=1)
    print()
    good = all(row["verdict"] == "holds" for row in configurations)
    return 0 if good and all(row["as expected"] for row in (*weakened, *healings)) else 1


if __name__ == "__main__":
    sys.exit(ended(main))
