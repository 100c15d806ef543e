"""Adversaries by name: what lies, delays, drops and reorders in a simulated cluster.

Each speaks the real wire from inside a simulated host, or decides what the network delivers when.
Knows neither scenarios nor checks.
"""

from testnet.sim.adversaries.names import NAMES as NAMES
