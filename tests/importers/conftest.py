"""What tests of importers need: an experiment of another tool, imported and planned."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoexp import importers
from autoexp.importers import writing
from autoexp.outline import Plan
from tests.conftest import Plans


@dataclass(frozen=True)
class Made:
    """What an import came to."""

    text: str
    plan: Plan
    told: str
    """All warnings."""

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(job.stage for job in (*self.plan.jobs, *self.plan.previews)))

    @property
    def stages(self) -> dict[str, Any]:
        stages: dict[str, Any] = yaml.safe_load(self.text)["stages"]
        return stages

    def params(self, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(job.params[name] for name in names) for job in (*self.plan.jobs, *self.plan.previews)]


Import = Callable[..., Made]


@pytest.fixture
def imported(tmp_path: Path, planner: Plans) -> Import:
    """Import a file of a dialect, with other files beside it, and plan what came of it."""

    def make(text: str, *, dialect: str = "autoexperiment", name: str = "study.yaml", **files: str) -> Made:
        folder = tmp_path / "original"
        for path, content in {name: text, **{file.replace("__", "."): each for file, each in files.items()}}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
        made = importers.find(dialect).read(folder / name)
        written = writing.write(made.recipe, name)
        told = "\n".join(f"{each['code']} {each['where']}: {each['message']}" for each in made.warnings)
        return Made(written, planner(written, variables={"USER": "me", "HOME": "/home/me"}).plan(), told)

    return make
