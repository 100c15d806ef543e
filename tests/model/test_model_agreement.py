"""The model of protocol §7 exhausted: every reachable state keeps every property (§12)."""

import importlib
from itertools import permutations

import pytest

from tests.model import rules
from tests.model.report import CONFIGURATIONS, Configuration
from tests.model.rules import Rules
from tests.model.search import Search
from tests.model.slots import Shape, Slot


def name(configuration: Configuration) -> str:
    shape = configuration.shape
    runs = "dense" if configuration.dense else "all"
    return (
        f"{shape.slots}slots-{shape.byzantine}byz-{shape.rounds}rounds-{shape.values}values-{runs}"
    )


@pytest.mark.parametrize(
    ("configuration", "states"),
    [
        (Configuration(4, 1, 2), 912),
        (Configuration(5, 1, 2), 2_295),
        (Configuration(7, 2, 2, dense=True), 7_002),
        (Configuration(4, 1, 3, dense=True), 8_989),
    ],
    ids=lambda each: name(each) if isinstance(each, Configuration) else str(each),
)
def test_agreement_in_every_reachable_state(configuration: Configuration, states: int) -> None:
    """The number of states is the model's: another one means that its rules have changed."""
    found = configuration.search()
    assert found.broken is None
    assert found.states == states


@pytest.mark.slow
@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if not c.full], ids=name)
def test_agreement_in_larger_clusters(configuration: Configuration) -> None:
    assert configuration.search().broken is None


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if c.full], ids=name)
def test_agreement_in_the_largest_clusters(configuration: Configuration) -> None:
    assert configuration.search().broken is None


def naive(shape: Shape) -> set[tuple[Slot, ...]]:
    """All reachable clusters, slots and values told apart, without any reduction."""
    model = Rules(shape, Search(shape).rules.clauses)
    start = (Slot(),) * shape.honest
    seen, waiting = {start}, [start]
    while waiting:
        cluster = waiting.pop()
        shown = model.shown_by_slots(cluster)
        for i, slot in enumerate(cluster):
            for _, after in model.moves(slot, shown):
                following = (*cluster[:i], after, *cluster[i + 1 :])
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
    return seen


def orbit(shape: Shape, cluster: tuple[Slot, ...]) -> frozenset[tuple[Slot, ...]]:
    """All clusters that differ by names of slots and values."""
    images = [
        [shape.renamed(slot, names) for slot in cluster]
        for names in permutations(range(shape.values))
    ]
    return frozenset(tuple(each) for image in images for each in permutations(image))


@pytest.mark.parametrize(
    "shape", [Shape(4, 1, 1, 2), Shape(4, 1, 1, 3), Shape(3, 1, 2, 2)], ids=str
)
def test_the_search_sees_what_a_naive_one_sees(shape: Shape) -> None:
    clusters = naive(shape)
    orbits = {orbit(shape, cluster) for cluster in clusters}
    assert Search(shape, seek=()).run().states == len(orbits)


def clusters(shape: Shape, *, dense: bool) -> list[tuple[Slot, ...]]:
    search = Search(shape, dense=dense, traced=False)
    return [tuple([search.table.slots[i] for i in numbers]) for numbers in search.reachable()]


@pytest.mark.parametrize("shape", [Shape(4, 1, 2, 2), Shape(3, 1, 3, 2)], ids=str)
def test_dense_runs_lose_nothing(shape: Shape) -> None:
    """For every reachable cluster a dense one with the same records, and no vote less."""
    held: dict[object, list[tuple[int, ...]]] = {}
    for cluster in clusters(shape, dense=True):
        for image in orbit(shape, cluster):
            records = tuple((slot.place, slot.lock) for slot in image)
            held.setdefault(records, []).append(tuple(slot.votes for slot in image))
    for cluster in clusters(shape, dense=False):
        records = tuple((slot.place, slot.lock) for slot in cluster)
        assert any(
            all(slot.votes & more == slot.votes for slot, more in zip(cluster, votes, strict=True))
            for votes in held[records]
        )


@pytest.mark.parametrize("part", sorted(rules.MIRRORS))
def test_what_the_model_mirrors_is_there(part: str) -> None:
    """A function that moves or changes its name takes its line in `rules.MIRRORS` along."""
    for named in rules.MIRRORS[part]:
        module, _, path = named.partition(":")
        found = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
        assert callable(found)
