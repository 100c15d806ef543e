"""Which cases of a long test run where, and what programs that tests start inherit."""

import signal
from itertools import groupby
from typing import Final

import pytest

CASES_MAX: Final = 10  # of one long test's hundreds of seeds; all run in a soak


def pytest_configure() -> None:
    """A shell without job control has what it starts in the background ignore Ctrl-C, and so would
    every program that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = [item for item in items if item.get_closest_marker("long")]
    for _, cases in groupby(long, key=lambda item: item.nodeid.partition("[")[0]):
        rows = list(cases)
        drawn = {number * len(rows) // CASES_MAX for number in range(CASES_MAX)}
        for number, item in enumerate(rows):
            if len(rows) > CASES_MAX and number not in drawn:
                item.add_marker(pytest.mark.soak)
