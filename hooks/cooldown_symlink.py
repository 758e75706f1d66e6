"""Starts a cooldown from a checkpoint of its pretraining: a link to it, and a tracker that names it.

Try it by hand:

    python hooks/cooldown_symlink.py --from RUN/checkpoints --iteration 19000 --output COOLDOWN/checkpoints

In a recipe, before the cooldown is submitted:

    prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: 19000}}

What appears, in this order, so that whoever stops in between leaves nothing a trainer would misread:

    checkpoints/iter_0019000 -> ../../RUN/checkpoints/iter_0019000      relative: a study can be moved
    checkpoints/latest_checkpointed_iteration.txt                       "19000"

Rule 1: what the cooldown has saved itself is never reset, by no retry, restart or second copy of this hook.
So the tracker appears by a hard link, which fails where one stands; a rename would replace what a cooldown
wrote a moment ago.
Rule 2: the source must be whole and resumable by its structure; its tracker and its name say too little.
Rule 3: switch the pretraining's own deletion of old checkpoints off, or it deletes what this link points to.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoexp import files
from autoexp.checkpoints import TRACKER, folder_name, iteration_of, iterations, judge, read_tracker
from autoexp.errors import HookRefused

TRY_AGAIN = 75
"""The exit status of a refusal that waiting may mend (EX_TEMPFAIL)."""


def prepare(job_dir: Path, /, **values: object) -> dict[str, object]:
    """Make `job_dir`/checkpoints ready to resume from the checkpoint named by `from` and `iteration`.

    Args:
        job_dir: The cooldown's own directory.
        values: `from`, the pretraining's checkpoint directory, and `iteration`, the one to branch at.

    Returns:
        The link, what was done, and why; all of it JSON.

    Raises:
        HookRefused: The source is not there or not whole yet (temporary), will not become so, or the
            cooldown's folder holds something else than a cooldown from there.
    """
    source, iteration = _read_values(values)
    return branch(source, iteration, job_dir / "checkpoints")


def branch(source: Path, iteration: int, target: Path) -> dict[str, object]:
    """Do the work of `prepare` for a cooldown that saves into `target`."""
    try:
        return _branch(source, iteration, target)
    except OSError as error:
        raise HookRefused(
            f"the cooldown's folder {target} cannot be prepared",
            why=f"{error.filename or target}: {error.strerror}",
            fix="make it writable and free some space; the hook then goes on where it stopped",
            temporary=True,
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run by hand; print the evidence as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the pretraining's checkpoints")
    parser.add_argument("--iteration", type=int, required=True, help="the iteration to branch at")
    parser.add_argument("--output", type=Path, required=True, help="the cooldown's checkpoints")
    args = parser.parse_args(argv)
    try:
        evidence = branch(args.source, args.iteration, args.output)
    except HookRefused as refusal:
        print(f"cooldown_symlink: {refusal}", file=sys.stderr)
        return TRY_AGAIN if refusal.temporary else 1
    print(json.dumps(evidence, indent=1))
    return 0


def _read_values(values: Mapping[str, object]) -> tuple[Path, int]:
    source, iteration = values.get("from"), values.get("iteration")
    if (
        values.keys() != {"from", "iteration"}
        or not isinstance(source, str | Path)
        or not isinstance(iteration, int)
        or iteration < 1
    ):
        raise HookRefused(
            "cooldown_symlink was given the wrong values",
            why=f"it takes from (a folder) and iteration (a positive whole number), and got {dict(values)!r}",
            fix='write {from: "${sibling.pretrain.checkpoints}", iteration: 19000}',
        )
    return Path(source), iteration


def _branch(source: Path, iteration: int, target: Path) -> dict[str, object]:
    tracker = _check_target(source, iteration, target)
    link = target / folder_name(iteration)
    evidence = {"source": str(source), "iteration": iteration, "link": str(link)}
    if tracker is not None and tracker > iteration:
        _sweep(target)
        return {**evidence, "done": [], "why": f"the cooldown itself is at iteration {tracker} already"}
    folder = _whole_source(source, iteration)
    _make_folder(target)
    done = [*_make_link(link, folder), *_make_tracker(target, iteration)]
    _sweep(target)
    return {**evidence, "done": done, "why": f"made {' and '.join(done)}" if done else "all stood already"}


# The cooldown's folder.


def _check_target(source: Path, iteration: int, target: Path) -> int | None:
    """Return the cooldown's own tracker; refuse a folder that is not a cooldown from that checkpoint."""
    tracker = read_tracker(target)
    if isinstance(tracker, int) and tracker > iteration:
        return tracker
    if isinstance(tracker, str) or (tracker is not None and tracker < iteration):
        raise _tracker_refused(target, tracker, iteration)
    link = target / folder_name(iteration)
    if os.path.lexists(link) and not _points_at(link, source, iteration):
        raise _link_refused(link, source)
    others = [number for number in iterations(target) if number != iteration]
    if tracker is None and others and read_tracker(target) is None:  # not one that just began
        raise _tracker_refused(target, tracker, iteration)
    return tracker


def _points_at(link: Path, source: Path, iteration: int) -> bool:
    """Compare where a link points with the source, which need not exist yet, by its own real folder."""
    if not link.is_symlink():
        return False
    goal = _real(link.parent) / link.readlink()
    return _real(goal.parent) == _real(source) and iteration_of(goal.name) == iteration


def _real(path: Path) -> Path:
    """Follow links as far as they lead; unlike Path.resolve, a circle of links raises nothing."""
    return Path(os.path.realpath(path))


def _link_refused(link: Path, source: Path) -> HookRefused:
    what = f"a link to {link.readlink()}" if link.is_symlink() else "no link"
    return HookRefused(
        f"{link} is in the way",
        why=f"it is {what}; the cooldown would not start from {source}",
        fix=f"move {link.parent} away, or correct `from` and `iteration`",
    )


def _tracker_refused(target: Path, tracker: int | str | None, iteration: int) -> HookRefused:
    """Explain a tracker that is no start or progress of this cooldown, and name the newest whole save."""
    whole = [number for number, folder in iterations(target).items() if judge(folder).resumable]
    newest = max(whole, default=iteration)
    says = "is missing beside saved iterations" if tracker is None else f"says {tracker!r}"
    return HookRefused(
        f"the tracker of {target} {says}",
        why=f"a cooldown from iteration {iteration} has that number there, or a later one of its own",
        fix=f"if {newest} is right: printf {newest} > {target / TRACKER}; else move {target} away",
    )


# The source.


def _whole_source(source: Path, iteration: int) -> Path:
    """Return the checkpoint's folder, or refuse; for good only when the pretraining has passed it."""
    found = iterations(source)
    folder = found.get(iteration)
    if folder is None:
        raise _missing_refused(source, iteration, list(found))
    judgement = judge(folder)
    if judgement.resumable:
        return folder
    passed = judgement.complete or any(judge(found[n]).complete for n in found if n > iteration)
    raise HookRefused(
        f"iteration {iteration} of {source} cannot be resumed",
        why=judgement.why,
        fix="choose an iteration that is whole, or save it again" if passed else "wait until it is saved",
        temporary=not passed,
    )


def _missing_refused(source: Path, iteration: int, found: list[int]) -> HookRefused:
    before = max((n for n in found if n < iteration), default=None)
    after = min((n for n in found if n > iteration), default=None)
    near = " and ".join(str(n) for n in (before, after) if n is not None)
    return HookRefused(
        f"{source} has no iteration {iteration}",
        why=f"the nearest there: {near}" if near else "nothing is saved there yet",
        fix="wait until it is saved" if after is None else f"branch at one of {near}, or save at {iteration} too",
        temporary=after is None,
    )


# The three steps. Each is done once, durable before the next, and harmless to repeat.


def _make_folder(target: Path) -> None:
    if not target.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        files.sync_directory(target.parent)


def _make_link(link: Path, folder: Path) -> list[str]:
    """Link to `folder`; making a link fails where anything stands, so it can replace nothing."""
    goal = os.path.relpath(_real(folder.parent) / folder.name, _real(link.parent))
    try:
        link.symlink_to(goal)
    except FileExistsError:
        if not _points_at(link, folder.parent, iteration_of(folder.name) or 0):
            raise _link_refused(link, folder.parent) from None
        return []
    finally:
        files.sync_directory(link.parent)
    return ["link"]


def _make_tracker(target: Path, iteration: int) -> list[str]:
    """Write the tracker unless there is one by now: another copy of this hook, or the cooldown itself."""
    if (target / TRACKER).exists():
        return []
    draft = target / f".{TRACKER}.{os.uname().nodename}-{os.getpid()}.tmp"
    draft.unlink(missing_ok=True)  # only a killed process of the same name can have left one
    files.write_new(draft, str(iteration).encode())
    try:
        _appear(draft, target / TRACKER)
    except (FileExistsError, FileNotFoundError):  # not found: a copy that was quicker swept our draft
        if not (target / TRACKER).exists():
            raise
        return []
    finally:
        draft.unlink(missing_ok=True)
        files.sync_directory(target)
    return ["tracker"]


def _appear(draft: Path, tracker: Path) -> None:
    try:
        tracker.hardlink_to(draft)
    except OSError as error:
        if error.errno not in files.NO_HARD_LINKS:
            raise
        draft.rename(tracker)  # a moment ago there was none


def _sweep(target: Path) -> None:
    """Remove the drafts of killed copies: once a tracker stands, no draft has a use."""
    for draft in target.glob(f".{TRACKER}.*.tmp"):
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())
