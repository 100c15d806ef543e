"""Counters of one server: plain numbers that an exporter reads. They only rise; gauges are asked
for (`gauges`)."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What has happened since the server opened."""

    appends: int = 0
    appended_items: int = 0
    appended_bytes: int = 0
    duplicate_items: int = 0
    refused_appends: int = 0
    commits: int = 0
    """Compare-and-sets of heads: appends share them."""
    delivered_items: int = 0
    truncations: int = 0
    """How often a reader was told that it is late."""
    trimmed_items: int = 0
    created_executions: int = 0
    reservations: int = 0
    concluded_executions: int = 0
    lost_reservations: int = 0
