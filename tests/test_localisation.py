from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.localisation import Findings, Group, Wave, locate

KS = range(2, 65)


def nodes(count: int) -> list[str]:
    return [f"n{number:02d}" for number in range(count)]


@dataclass
class Fabric:
    """A simulated allocation, some nodes and links of which are slow."""

    inside: frozenset[str] = frozenset()
    """Nodes that are slow by themselves,"""
    ports: frozenset[str] = frozenset()
    """and those that are slow only with others."""
    links: frozenset[Group] = frozenset()
    waves: list[Wave] = field(default_factory=list)

    @property
    def slow(self) -> frozenset[str]:
        return self.inside | self.ports

    def is_fast(self, group: Group) -> bool:
        bad = self.inside if len(group) == 1 else self.slow
        return bad.isdisjoint(group) and self.links.isdisjoint(combinations(sorted(group), 2))

    def locate(
        self, names: Iterable[str], judge: Callable[[Group], bool | None] | None = None, **limits: int
    ) -> Findings:
        search, results = locate(list(names), **limits), None
        while True:
            try:
                wave = search.send(results) if results is not None else next(search)
            except StopIteration as ended:
                found: Findings = ended.value
                return found
            members = [node for group in wave for node in group]
            assert len(members) == len(set(members)), "the groups of a wave are measured at once"
            self.waves.append(wave)
            results = {group: (judge or self.is_fast)(group) for group in wave}


@pytest.mark.parametrize("count", KS)
def test_a_healthy_allocation_is_cleared_in_three_waves(count: int) -> None:
    fabric = Fabric()

    assert fabric.locate(nodes(count)) == Findings(good=tuple(nodes(count)))
    assert len(fabric.waves) <= 4


@pytest.mark.parametrize("count", range(3, 65))
def test_one_slow_node_is_named_wherever_it_is(count: int) -> None:
    for culprit in nodes(count):
        fabric = Fabric(ports=frozenset([culprit]))
        found = fabric.locate(nodes(count))

        assert (found.slow, found.links, found.unclear) == ((culprit,), (), ())
        assert len(fabric.waves) <= 8


@pytest.mark.parametrize("count", KS)
def test_a_node_that_is_slow_by_itself_is_named_even_of_two(count: int) -> None:
    found = Fabric(inside=frozenset(["n01"])).locate(nodes(count))

    assert (found.slow, found.links, found.unclear) == (("n01",), (), ())


def test_of_two_nodes_neither_is_blamed_for_what_may_be_the_other_or_the_link() -> None:
    for fabric in (Fabric(ports=frozenset(["n00"])), Fabric(links=frozenset([("n00", "n01")]))):
        assert fabric.locate(nodes(2)) == Findings(unclear=(("n00", "n01"),))


@pytest.mark.parametrize("count", range(3, 65))
def test_one_slow_link_is_named_and_neither_of_its_ends(count: int) -> None:
    names = nodes(count)
    for link in [(names[0], names[-1]), (names[0], names[1]), (names[count // 2 - 1], names[count // 2])]:
        fabric = Fabric(links=frozenset([link]))
        found = fabric.locate(names)

        assert (found.slow, found.links, found.unclear) == ((), (link,), ())
        assert len(fabric.waves) <= 6 + 4 * count.bit_length()


@st.composite
def fabrics(draw: st.DrawFn) -> tuple[list[str], Fabric]:
    names = nodes(draw(st.integers(2, 64)))
    few = st.sets(st.sampled_from(names), max_size=len(names))
    link = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda ends: ends[0] < ends[1])
    inside, ports = (frozenset(draw(few)) for _ in range(2))
    return names, Fabric(inside=inside, ports=ports, links=frozenset(draw(st.sets(link, max_size=12))))


@settings(deadline=None)
@given(made=fabrics())
def test_whatever_is_slow_all_of_it_is_found_and_nothing_is_blamed_by_guess(made: tuple[list[str], Fabric]) -> None:
    names, fabric = made
    found = fabric.locate(names, partners=len(names), most_waves=10_000)
    healthy = [node for node in names if node not in fabric.slow]
    fast = [pair for pair in combinations(healthy, 2) if pair not in fabric.links]

    if not fast:  # no two nodes can show that they are well
        assert set(found.slow) == fabric.inside
        assert {node for group in found.unclear for node in group} >= set(names) - fabric.inside or len(healthy) < 2
        return
    cut_off = {n for n in healthy if not any(tuple(sorted((n, g))) in fast for g in found.good if g != n)}
    assert set(found.slow) == fabric.slow | cut_off, "a node without one fast link to a good one is slow itself"
    assert found.unclear == ()
    assert set(found.links) == {link for link in fabric.links if set(link) <= set(found.good)}
    assert set(found.good) == set(names) - set(found.slow)


@settings(deadline=None)
@given(made=fabrics())
def test_a_node_is_blamed_only_if_it_is_slow_or_so_are_several_of_its_links(made: tuple[list[str], Fabric]) -> None:
    names, fabric = made
    found = fabric.locate(names)

    for node in found.slow:
        assert node in fabric.slow or sum(node in link for link in fabric.links) >= 2
    assert fabric.slow.isdisjoint(found.good)
    assert set(found.links) <= fabric.links


@settings(deadline=None)
@given(made=fabrics(), waves=st.integers(0, 12))
def test_a_search_that_has_to_end_early_leaves_the_rest_unclear(made: tuple[list[str], Fabric], waves: int) -> None:
    names, fabric = made
    found = fabric.locate(names, most_waves=waves)

    assert len(fabric.waves) <= waves
    assert fabric.slow.isdisjoint(found.good)
    named = {*found.slow, *found.good, *(node for group in found.unclear for node in group)}
    missing = set(names) - named
    assert not missing or (len(missing) == 1 and set(names) - missing == set(found.slow)), "one alone shows nothing"


@settings(deadline=None)
@given(made=fabrics(), unknown=st.sets(st.integers(0, 40)))
def test_what_could_not_be_judged_clears_nobody_and_blames_nobody(
    made: tuple[list[str], Fabric], unknown: set[int]
) -> None:
    names, fabric = made
    asked: list[Group] = []

    def judge(group: Group) -> bool | None:
        asked.append(group)
        return None if len(asked) in unknown else fabric.is_fast(group)

    found = fabric.locate(names, judge)

    for node in found.slow:
        assert node in fabric.slow or sum(node in link for link in fabric.links) >= 2
    assert fabric.slow.isdisjoint(found.good)
    assert set(found.links) <= fabric.links


def test_one_failure_with_a_good_node_may_be_the_link_and_proves_nothing() -> None:
    fabric = Fabric(links=frozenset([("n00", "n03")]))
    unheard = (("n01", "n03"), ("n02", "n03"))

    found = fabric.locate(nodes(4), lambda group: None if group in unheard else fabric.is_fast(group))

    assert (found.slow, found.unclear, found.good) == ((), (("n03",),), ("n00", "n01", "n02"))


def test_what_is_slow_only_as_a_whole_is_unclear_as_a_whole() -> None:
    found = Fabric().locate(nodes(8), lambda group: len(group) < 5)

    assert (found.slow, found.links) == ((), ())
    assert found.unclear
    assert all(len(group) >= 5 for group in found.unclear)


def test_a_test_that_finds_nearly_all_slow_excludes_nobody() -> None:
    broken = Fabric(inside=frozenset(nodes(30))).locate(nodes(32))

    assert len(broken.slow) == 30
    assert broken.excludable(most=4) == ()
    assert Findings(slow=("n1",)).excludable(most=4) == ("n1",)


def test_no_nodes_and_one_node_need_no_links() -> None:
    assert Fabric().locate([]) == Findings()
    assert Fabric().locate(["n00"]) == Findings(good=())
