import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.errors import AutoexpError
from autoexp.trainers import boards
from tests.conftest import wait_until

if TYPE_CHECKING:
    from tests.trainers.conftest import Train


def args(**given: Any) -> Any:
    usual = {"tensorboard_dir": None, "wandb_project": None, "wandb_exp_name": None, "wandb_save_dir": None}
    return SimpleNamespace(**{**usual, **given})


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a wandb in the place of the real one that keeps what it is told."""
    told: list[Any] = []
    run = SimpleNamespace(log=lambda values, step: told.append((step, values)), finish=lambda: told.append("finished"))

    def init(**given: Any) -> Any:
        told.append((os.environ["WANDB_MODE"], given))
        return run

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return told


def test_a_run_is_offline_and_has_the_jobs_name(wandb: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOEXP_JOB", "train-lr0.1")
    (board,) = boards.open_all(args(wandb_project="ladder"))
    board.draw({"train/loss": 3.0}, 7)
    board.close()

    (mode, given), *rest = wandb
    assert (mode, given["project"], given["name"], given["dir"]) == ("offline", "ladder", "train-lr0.1", None)
    assert given["config"] == {"wandb_project": "ladder"}
    assert rest == [(7, {"train/loss": 3.0}), "finished"]


def test_a_recipe_may_have_it_online(wandb: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    boards.open_all(args(wandb_project="ladder", wandb_exp_name="mine"))

    assert (wandb[0][0], wandb[0][1]["name"]) == ("online", "mine")


def test_what_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(AutoexpError, match=r"pip install 'autoexp\[wandb\]', or leave --wandb-project out"):
        boards.open_all(args(wandb_project="ladder"))


def test_the_real_wandb_writes_a_run_that_can_be_synchronized_later(train: "Train", tmp_path: Path) -> None:
    train(f"--train-iters 2 --wandb-project ladder --wandb-save-dir {tmp_path}")

    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    wait_until(lambda: b"train/loss" in written.read_bytes(), "what its own process writes")
