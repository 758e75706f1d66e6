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
        ({"world": [1, 2], "iteration": {"x": [1, 2], "y": {"x": [1, 2]}}}, 8),
    ],
    ids=["nested", "mappings", "lists", "mixed", "names that are taken"],
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
