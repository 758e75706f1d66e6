"""Finds the slow nodes and links of an allocation whose network is too slow, by measuring parts of it.

Round 1 measures each node alone, round 2 disjoint pairs, round 3 each suspect with nodes known to be good; what is good
is then measured together, and parted until what is slow in it stands alone. The groups of a wave share no node, so that
they are measured at once.

A group passes if all its nodes and all links between them are well. A node that passed with another is good, and so is
that other. A node that fails with several good ones is slow; a link is slow that fails between good ones. Where a
culprit cannot be told apart, such as the two ends and the link of an allocation of two, the smallest group that holds
it is unclear: nothing is blamed by guess. A measurement that could not be judged clears nobody and blames nobody.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Group = tuple[str, ...]
"""Nodes, sorted."""
Wave = tuple[Group, ...]
Results = Mapping[Group, bool | None]
"""Whether each group was fast enough; None, or nothing, where that could not be judged."""
Search = Generator[Wave, Results, None]

PROOF = 2
"""Good nodes that a node must have failed with: with one, it may be the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the measurements come to."""

    slow: Group = ()
    """Nodes that are slow beyond doubt."""
    links: tuple[Group, ...] = ()
    """Pairs of good nodes with a slow link between them."""
    unclear: tuple[Group, ...] = ()
    """Groups that hold a culprit, or could not be judged; who it is cannot be told."""
    good: Group = ()

    def excludable(self, most: int) -> Group:
        """Name the nodes to do without: the slow ones, unless they are so many that the test is to be doubted."""
        return self.slow if len(self.slow) <= most else ()


def locate(nodes: Sequence[str], *, partners: int = 3, most_waves: int = 128) -> Generator[Wave, Results, Findings]:
    """Yield waves of groups to measure, take their results, and return what they come to.

    `partners` is how many good nodes a suspect is tried with, `most_waves` when the search gives up: what is left by
    then is unclear.
    """
    search = _Search(partners=max(partners, PROOF), waves_left=most_waves)
    rest = yield from search.alone(nodes)
    yield from search.pair(rest)
    yield from search.try_with_good(rest)
    if not search.good and len(rest) > 1:
        search.unclear.append(tuple(rest))
    yield from search.inside(tuple(sorted(search.good)))
    return Findings(
        slow=tuple(node for node in nodes if node in search.slow),
        links=tuple(sorted(search.links)),
        unclear=tuple(search.unclear),
        good=tuple(node for node in nodes if node in search.good),
    )


@dataclass(slots=True, kw_only=True)
class _Search:
    partners: int
    waves_left: int
    known: dict[Group, bool | None] = field(default_factory=dict)
    good: list[str] = field(default_factory=list)
    slow: set[str] = field(default_factory=set)
    links: set[Group] = field(default_factory=set)
    unclear: list[Group] = field(default_factory=list)

    def measure(self, *groups: Group) -> Search:
        fresh = tuple(group for group in groups if group not in self.known)
        results: Results = {}
        if fresh and self.waves_left > 0:
            self.waves_left -= 1
            results = yield fresh
        self.known.update((group, results.get(group)) for group in fresh)

    def alone(self, nodes: Sequence[str]) -> Generator[Wave, Results, list[str]]:
        """Measure each node; return those that are well as far as this shows."""
        yield from self.measure(*((node,) for node in nodes))
        self.slow |= {node for node in nodes if self.known[(node,)] is False}
        self.unclear += [(node,) for node in nodes if self.known[(node,)] is None]
        return [node for node in nodes if self.known[(node,)]]

    def pair(self, nodes: Sequence[str]) -> Search:
        """Measure disjoint pairs; other ones, as long as none has passed."""
        for pairs in _pairings(nodes):
            yield from self.measure(*pairs)
            self.good = [node for pair in pairs if self.known[pair] for node in pair]
            if self.good:
                return

    def try_with_good(self, nodes: Sequence[str]) -> Search:
        """Measure each node that is not known to be good with some that are."""
        while wave := self._matches(nodes):
            yield from self.measure(*wave)
            passed = {node for pair in wave if self.known[pair] for node in pair}
            self.good += [node for node in nodes if node in passed and node not in self.good]
        if not self.good:
            return
        for node in self._suspects(nodes):
            if len(self._failed(node)) >= PROOF:
                self.slow.add(node)
            else:
                self.unclear.append((node,))

    def _suspects(self, nodes: Sequence[str]) -> list[str]:
        return [node for node in nodes if node not in self.good]

    def _failed(self, node: str) -> list[str]:
        return [good for good in self.good if self.known.get(_pair(node, good)) is False]

    def _matches(self, nodes: Sequence[str]) -> list[Group]:
        """Give each suspect that needs one a good node it was not measured with yet, each to one suspect at a time."""
        free, matches = list(self.good), []
        for node in self._suspects(nodes):
            untried = [good for good in free if _pair(node, good) not in self.known]
            if untried and len(self._failed(node)) < self.partners:
                free.remove(untried[0])
                matches.append(_pair(node, untried[0]))
        return matches

    def inside(self, group: Group) -> Search:
        """Find the slow links within a group of good nodes."""
        if len(group) < 2:  # noqa: PLR2004 - a link has two ends
            return
        yield from self.measure(group)
        if self._is_settled(group):
            return
        left, right = _halves(group)
        before = self._found()
        yield from self.measure(*(half for half in (left, right) if len(half) > 1))
        yield from self.inside(left)
        yield from self.inside(right)
        for some in self._clean_parts(left):
            for others in self._clean_parts(right):
                yield from self.between(some, others)
        self._settle(group, before)

    def between(self, some: Group, others: Group) -> Search:
        """Find the slow links from one group to another, within which there are none."""
        group = tuple(sorted(some + others))
        yield from self.measure(group)
        if self._is_settled(group):
            return
        smaller, larger = sorted((some, others), key=len)
        before = self._found()
        for half in _halves(larger):
            yield from self.between(half, smaller)
        self._settle(group, before)

    def _is_settled(self, group: Group) -> bool:
        """Say whether a group needs no parting: it passed, nobody knows, or it is a link."""
        if self.known[group] is None:
            self.unclear.append(group)
        elif not self.known[group] and len(group) == 2:  # noqa: PLR2004 - as above
            self.links.add(group)
        return bool(self.known[group]) or self.known[group] is None or group in self.links

    def _found(self) -> int:
        return len(self.links) + len(self.unclear)

    def _settle(self, group: Group, before: int) -> None:
        """Keep a group that fails only as a whole."""
        if self._found() == before:
            self.unclear.append(group)

    def _clean_parts(self, group: Group) -> list[Group]:
        """Part a group so that no slow link that we know of lies within a part."""
        parts: list[Group] = []
        for node in group:
            fits = (part for part in parts if not any(_pair(node, other) in self.links for other in part))
            part = next(fits, ())
            parts = [*(other for other in parts if other != part), (*part, node)]
        return parts


def _pair(one: str, other: str) -> Group:
    return tuple(sorted((one, other)))


def _halves(group: Group) -> tuple[Group, Group]:
    return group[: len(group) // 2], group[len(group) // 2 :]


def _pairings(nodes: Sequence[str]) -> Iterator[list[Group]]:
    """Pair all nodes with all others, each with one at a time; an odd one rests: a tournament's circle method."""
    seats: list[str | None] = [*nodes, *([None] if len(nodes) % 2 else [])]
    for _ in range(len(seats) - 1):
        across = zip(seats[: len(seats) // 2], reversed(seats[len(seats) // 2 :]), strict=True)
        yield [_pair(one, other) for one, other in across if one is not None and other is not None]
        seats = [seats[0], seats[-1], *seats[1:-1]]
