"""Which cases of a long test run where: of hundreds of seeds a few everywhere, all in a soak."""

from itertools import groupby
from typing import Final

import pytest

CASES_MAX: Final = 10  # of one long test; evenly drawn from all of its cases


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = [item for item in items if item.get_closest_marker("long")]
    for _, cases in groupby(long, key=lambda item: item.nodeid.partition("[")[0]):
        rows = list(cases)
        drawn = {number * len(rows) // CASES_MAX for number in range(CASES_MAX)}
        for number, item in enumerate(rows):
            if len(rows) > CASES_MAX and number not in drawn:
                item.add_marker(pytest.mark.soak)
