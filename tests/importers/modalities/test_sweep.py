"""Sweeps of Modalities, counted as Modalities' own expansion counts them."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import yaml

from autoexp.errors import RecipeError
from tests.importers.conftest import Import


def expanded(sweep: Any) -> list[Any]:
    """Expand a sweep by its rules: mappings are products, lists alternatives, all else is one value."""
    if not isinstance(sweep, Mapping):
        return sweep if isinstance(sweep, list) else [sweep]
    return [dict(zip(sweep, made, strict=True)) for made in product(*map(expanded, sweep.values()))]


@pytest.mark.parametrize(
    ("sweep", "count"),
    [
        ({"a": {"b": [1, 2], "c": [3, 4]}}, 4),
        ({"a": [{"b": [1, 2]}, {"b": [3, 4]}]}, 2),
        ({"a": [[1, 2], [3]], "b": [1, 2, 3]}, 6),
        ({"a": [1, {"b": 2}, None, "two words", True], "b": 7}, 5),
        ({"a": [1, 1.0, "1", True, "a b", "a_b"], "b": [1, 2]}, 12),
        ({"world": [1, 2], "iteration": {"x": [1, 2], "y": {"x": [1, 2]}}}, 8),
    ],
    ids=["nested", "mappings", "lists", "mixed", "alike", "names that are taken"],
)
def test_a_sweep_comes_to_as_many_jobs_as_there(imported: Import, sweep: Any, count: int) -> None:
    made = imported(yaml.safe_dump({"sweep": sweep}), dialect="modalities")

    assert len(made.plan.jobs) == len(expanded(sweep)) == count
    assert len({job.argv for job in made.plan.jobs}) == count


@pytest.mark.parametrize(
    "text", ["sweep: {}", "sweep: [1, 2]", "x: 1", "sweep: {a: {}}", "sweep: {a: []}", "sweep: {a.b: 1}"]
)
def test_what_is_no_sweep_is_refused(imported: Import, text: str) -> None:
    with pytest.raises(RecipeError, match=r"study\.yaml"):
        imported(text, dialect="modalities")


@pytest.mark.parametrize(
    ("sweep", "count", "told"),
    [
        ({"a": [1, 2], "b": [3, 4], "paired": [["a", "b"]]}, 4, True),
        ({"a": [1, 2], "b": [3, 4], "paired": [["a", "b"], ["b", "a"]]}, 4, True),
        ({"a": [1, 2], "paired": [["x", "y"], ["z"]]}, 4, False),
        ({"a": [1, 2], "paired": [True, False]}, 4, False),
    ],
)
def test_axes_that_were_to_be_paired_are_not_and_it_is_told(
    sweep: Any,
    count: int,
    told: bool,  # noqa: FBT001 - a parameter
    imported: Import,
) -> None:
    made = imported(yaml.safe_dump({"sweep": sweep}), dialect="modalities")

    assert len(made.plan.jobs) == count
    assert ("sweep.paired: paired pairs nothing in Modalities" in made.told) is told
