from collections.abc import Callable
from textwrap import dedent, indent
from typing import Any

import pytest

from autoexp.plan import Planner

Plans = Callable[..., Planner]


@pytest.fixture
def warned(planner: Plans) -> Callable[..., list[dict[str, Any]]]:
    """Plan a recipe of these stages, and return what is odd about it."""

    def plan(stages: str, more: str = "", **world: Any) -> list[dict[str, Any]]:
        text = f"study: s\n{dedent(more)}stages:\n{indent(dedent(stages), '  ')}"
        return [dict(warning) for warning in planner(text, **world).plan().warnings]

    return plan
