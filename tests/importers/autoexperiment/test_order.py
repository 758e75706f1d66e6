from collections.abc import Mapping
from itertools import product
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp.importers.autoexperiment.order import lifted, place, positions, settle
from autoexp.importers.autoexperiment.tree import Definition, definitions
from autoexp.importers.notes import Notes
from autoexp.places import Places
from tests.importers.conftest import Import


def settled(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    notes = Notes(Places("f.yaml"))
    kept = settle(definitions(raw, (), notes), positions(raw), notes)
    return {one.name: one.value for one in kept}, str(notes.warnings)


def test_the_later_of_two_values_counts() -> None:
    assert settled({"a": {"n": 1}, "b": {"n": 2}})[0] == {"n": 2}


def test_a_value_stands_over_what_branches_before_it_bring() -> None:
    kept, told = settled({"m": [{"s": {"n": 1, "w": 1}}, {"l": {"w": 2}}], "n": 3})

    assert kept == {"m": [{"s": {"w": 1}}, {"l": {"w": 2}}], "n": 3}
    assert "n is left out" in told


def test_branches_stand_over_a_value_before_them_as_far_as_they_go() -> None:
    some = {"n": 3, "m": [{"s": {"n": 1}}, {"l": {"w": 2}}]}

    assert settled(some)[0] == some
    assert settled({"n": 3, "m": [{"s": {"n": 1}}, {"l": {"n": 2}}]})[0].keys() == {"m"}


def test_an_axis_that_a_later_value_hides_is_kept_and_told() -> None:
    kept, told = settled({"lr": [1, 2], "x": {"lr": 5}})

    assert kept == {"lr_swept": [1, 2], "lr": 5}
    assert "make no difference" in told


def test_what_a_stage_stands_over_gets_another_name_in_the_sweep() -> None:
    raw = {"m": [{"s": {"n": 1}}], "n_of_stage": {"n": 2}}
    where = positions(raw)
    common, own = definitions(raw, (), Notes(Places("f.yaml")))

    changed, called = lifted([common], [own], where)

    assert (changed[0].value, called) == ([{"s": {"n_of_m": 1}}], {"n": "n_of_m"})


def test_a_branch_of_a_plain_value_stands_where_the_branch_does() -> None:
    raw = {"m": [{"s": 1}]}

    assert place(positions(raw), Definition("s", 1, ("m", 0, "s", "s"))) == place(
        positions(raw), Definition("s", 1, ("m", 0, "s"))
    )


def enumerated(value: Any) -> list[dict[tuple[str, ...], Any]]:
    """List the combinations of a file by AutoExperiment's rules, each value by the keys that lead to it."""
    if isinstance(value, Mapping):
        rows = product(
            *([{(key, *path): item[path] for path in item} for item in enumerated(value[key])] for key in value)
        )
        return [{path: item for part in row for path, item in part.items()} for row in rows]
    return [one for item in value for one in enumerated(item)] if isinstance(value, list) else [{(): value}]


def named(row: Mapping[tuple[str, ...], Any]) -> dict[str, str]:
    """Give each key the next one as its value, and the last one the value itself; the later one counts."""
    return {key: str(given) for path in row for key, given in zip(path, (*path[1:], row[path]), strict=True)}


NAMES = st.sampled_from("abc")
VALUES = st.integers(1, 3)
BODY = st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)


def branches(body: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(body, min_size=1, max_size=3).map(lambda made: [{f"k{n}": one} for n, one in enumerate(made)])


DEEP = st.builds(lambda body, axis, inner: {**body, axis: inner}, BODY, st.sampled_from("pq"), branches(BODY))
PLAIN = VALUES | st.lists(VALUES, min_size=1, max_size=2, unique=True)
BRANCHED = st.dictionaries(st.sampled_from("mno"), branches(BODY | DEEP), min_size=1, max_size=3)
ONE_KIND = st.just({"template": "t.sbatch"})
KINDS = st.lists(st.just({}) | BODY | DEEP, min_size=1, max_size=2).map(
    lambda made: {"mode": [{f"s{n}": {**one, "template": "t.sbatch"}} for n, one in enumerate(made)]}
)
FILES = st.tuples(st.dictionaries(NAMES, PLAIN, max_size=3), BRANCHED, ONE_KIND | KINDS).flatmap(
    lambda parts: st.permutations([item for part in parts for item in part.items()])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=FILES)
def test_every_file_has_the_jobs_that_autoexperiment_makes_of_it(
    items: list[tuple[str, Any]], imported: Import
) -> None:
    raw = {name: 0 for name in "abc" if name not in dict(items)} | dict(items)
    head = {"name": "x", "output_file": "o", "sbatch_script": "s"}
    made = imported(yaml.safe_dump({**head, **raw}, sort_keys=False), t__sbatch="echo {a} {b} {c}\n")

    jobs = {tuple(job.env[name] for name in "abc") for job in made.plan.jobs}
    assert jobs == {tuple(one[name] for name in "abc") for one in map(named, enumerated(raw))}
