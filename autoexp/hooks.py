"""Hook modules: found by file name, looked into without running them, and loaded only to prepare a submission."""

import ast
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Protocol, cast

from autoexp import folders
from autoexp.errors import AutoexpError
from autoexp.model import JSON, HookCall
from autoexp.world import HookInfo


class Preparing(Protocol):
    """A hook that a stage's `prepare:` may name."""

    def prepare(self, job_dir: Path, /, **values: Any) -> Mapping[str, JSON]:
        """Do what has to be done before the submission, once or again; raise HookRefused if it cannot be."""


@cache
def find(name: str) -> HookInfo:
    """Find a hook by name.

    Raises:
        AutoexpError: there is none, or its file is no Python.
    """
    path = folders.find("hooks", name, ".py").resolve()
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise AutoexpError(
            f"the hook {name!r} is no Python", why=f"{path}:{error.lineno}: {error.msg}", fix="correct the file"
        ) from error
    planned, takes = (tuple(_constant(tree, key).split()) for key in ("PLANNED", "TAKES"))
    return HookInfo(name=name, path=str(path), output=_constant(tree, "OUTPUT"), planned=planned, takes=takes)


def _constant(tree: ast.Module, name: str) -> str:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=value)) if found == name:
                return str(value)
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.Constant(value=value)) if found == name:
                return str(value)
    return ""


def prepare(call: HookCall, job_dir: Path) -> Mapping[str, JSON]:
    """Run a hook's pre-submission step.

    Raises:
        HookRefused: the hook's own answer.
        AutoexpError: the file is gone, has no `prepare`, or broke.
    """
    module = _load(call.name, call.path)
    if not hasattr(module, "prepare"):
        raise AutoexpError(
            f"the hook {call.name!r} cannot prepare a job",
            why=f"{call.path} has no function prepare(job_dir, **values)",
            fix="name a hook that has one under prepare:, or run this one as a stage",
        )
    try:
        return cast(Preparing, module).prepare(job_dir, **call.values)
    except AutoexpError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(call.name, call.path, error) from error


def run(name: str, function: str, *arguments: Any) -> Any:
    """Call a function of one of our own hooks, by its name.

    Raises:
        AutoexpError: the hook's own answer; or it is gone, or cannot be loaded.
    """
    module: Any = _load(name, find(name).path)
    return getattr(module, function)(*arguments)


def _broken(name: str, path: str, error: BaseException) -> AutoexpError:
    """Say where a hook of the user's went wrong: one job's mishap, and no reason for the watcher to end."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f"{path}:{lines[-1]}" if lines else path
    return AutoexpError(f"the hook {name!r} broke", why=f"{where}: {error!r}", fix="correct the hook, then mark retry")


def _load(name: str, path: str) -> object:
    spec = spec_from_file_location(f"autoexp_hook_{name}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise AutoexpError(f"the hook {name!r} is gone", why=f"{path} is no file", fix="put it back, or plan again")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except AutoexpError:  # what it needs is not installed, say
        raise
    except (Exception, SystemExit) as error:
        raise _broken(name, path, error) from error
    return module
