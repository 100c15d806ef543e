"""Snowball as protocol §6 has it, in thirty lines: whole states, a tally for every value.

Written from the page, for comparison; slow and without any cleverness. A value is any text.
"""

from collections.abc import Mapping
from typing import NamedTuple

Tally = tuple[tuple[str, int], ...]  # value → number, sorted; no zeros


class Reference(NamedTuple):
    alpha_preference: int
    alpha_confidence: int
    beta: int
    preference: str | None = None
    counts: Tally = ()  # polls that a value led
    streaks: Tally = ()  # polls in a row that it won, up to the last one
    leads: Tally = ()  # polls in a row that it led while no other won
    settled: str | None = None
    weakly: bool = False
    yields: bool = True  # a chain without votes does not settle weakly

    def after(self, votes: Mapping[str, int]) -> "Reference":
        leaders = [v for v, votes_ in votes.items() if votes_ >= self.alpha_preference]
        winners = [v for v, votes_ in votes.items() if votes_ >= self.alpha_confidence]
        counts, streaks, leads = dict(self.counts), dict(self.streaks), dict(self.leads)
        preference, settled, weakly = self.preference, self.settled, self.weakly
        for v in leaders:
            counts[v] = counts.get(v, 0) + 1
            if counts[v] > counts.get(preference or "", 0 if preference else -1):
                preference = v
        streaks = {v: streaks.get(v, 0) + 1 for v in winners}
        leads = {v: leads.get(v, 0) + 1 for v in leaders if all(w == v for w in winners)}
        if settled is None:
            settled = next((v for v, n in streaks.items() if n == self.beta), None)
        if settled is None and self.yields:
            settled = next((v for v, n in leads.items() if n == 2 * self.beta), None)
            weakly = settled is not None
        tallies = [tuple(sorted(tally.items())) for tally in (counts, streaks, leads)]
        counts_, streaks_, leads_ = tallies
        return self._replace(
            preference=preference,
            counts=counts_,
            streaks=streaks_,
            leads=leads_,
            settled=settled,
            weakly=weakly,
        )
