"""What many tests need: a recipe's text made into a planner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from autoexp import recipes
from autoexp.errors import AutoexpError
from autoexp.model import Machine
from autoexp.plan import Planner
from autoexp.world import HookInfo, World

# A busy computer is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

HOOKS = {"cooldown_symlink": "", "megatron_to_hf": "hf", "evaluate": "eval", "nccl_gate": ""}
"""Hooks by name, each with the folder it writes to."""

Plans = Callable[..., Planner]


def find_hook(name: str) -> HookInfo:
    if name not in HOOKS:
        raise AutoexpError(f"unknown hook {name!r}", why=f"there are {', '.join(HOOKS)}", fix="correct the name")
    return HookInfo(name=name, path=f"/hooks/{name}.py", output=HOOKS[name])


@pytest.fixture
def planner(tmp_path: Path) -> Plans:
    """Make a planner of a recipe's text, with KEY=VALUE overrides and what else the world holds."""

    def make(text: str, *overrides: str, **world: Any) -> Planner:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        machine = world.pop("machine", Machine(name="here", python="python"))
        known = World(**{"machine": machine, "root": "/root", "hooks": find_hook, "key": "k3y", **world})
        return Planner(recipes.load(path, overrides), known)

    return make
