"""The optional extras are not alive, so what is used of them is tested: they import, at the pin."""

from importlib import import_module
from importlib.metadata import version

import pytest


@pytest.mark.integration
@pytest.mark.parametrize(
    ("module", "distribution", "pinned"),
    [("pyignite", "pyignite", "0.6.1"), ("ipfshttpclient", "ipfshttpclient", "0.7.0")],
)
def test_an_extra_imports_at_its_pin(module: str, distribution: str, pinned: str) -> None:
    assert import_module(module) is not None
    assert version(distribution) == pinned
