"""Where curves are drawn: TensorBoard's files, and Weights & Biases', written offline and synchronized later."""

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from autoexp.errors import AutoexpError

if TYPE_CHECKING:
    import argparse

OFFLINE = ("WANDB_MODE", "offline")
"""Compute nodes have no way to the internet, and a training waits for nobody: unless a recipe's env: says otherwise."""


class Board(Protocol):
    """What draws curves."""

    def draw(self, values: Mapping[str, float], iteration: int) -> None:
        """Take what an iteration came to."""

    def close(self) -> None:
        """Write the rest."""


def open_all(args: "argparse.Namespace") -> list[Board]:
    """Open what the command line asks for.

    Raises:
        AutoexpError: it is not installed.
    """
    found: list[Board] = []
    if args.tensorboard_dir is not None:
        found.append(TensorBoard(str(args.tensorboard_dir)))
    if args.wandb_project is not None:
        found.append(Wandb(args))
    return found


class TensorBoard:
    """Its files in a folder."""

    def __init__(self, folder: str) -> None:
        """Begin, or go on in a file beside those that are there."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # seconds, and not everybody's
        except ImportError as error:
            raise _missing("TensorBoard", "train", "--tensorboard-dir") from error
        self._writer = SummaryWriter(folder)

    def draw(self, values: Mapping[str, float], iteration: int) -> None:
        """Take what an iteration came to."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases."""

    def __init__(self, args: "argparse.Namespace") -> None:
        """Begin a run; the command line is its configuration."""
        os.environ.setdefault(*OFFLINE)
        settings = {name: str(value) for name, value in vars(args).items() if value is not None}
        self._run: Any = _wandb().init(
            project=args.wandb_project,
            name=args.wandb_exp_name or os.environ.get("AUTOEXP_JOB"),
            dir=args.wandb_save_dir,
            config=settings,
        )

    def draw(self, values: Mapping[str, float], iteration: int) -> None:
        """Take what an iteration came to."""
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        """Write the rest."""
        self._run.finish()


def _wandb() -> ModuleType:
    try:
        return import_module("wandb")
    except ImportError as error:
        raise _missing("W&B", "wandb", "--wandb-project") from error


def _missing(what: str, extra: str, flag: str) -> AutoexpError:
    fix = f"pip install 'autoexp[{extra}]', or leave {flag} out"
    return AutoexpError(f"cannot write for {what}", why="it is not installed", fix=fix)
