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
Rule 3: a pretraining that would delete the branch point (--save-retain-interval) is refused. With `keep: link` (hard
links) or `keep: copy` the cooldown gets a checkpoint of its own, in kept/ beside checkpoints/, and the link leads
there. Hard links cost no room, but a pretraining that saves that iteration again writes into them; a copy is safe from
that, and the watcher waits while it is made.
Rule 4: the cooldown's flags, in its job.yaml, must make it one: `autoexp.branching` has the traps.
"""

import argparse
import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from autoexp import branching, clock, files
from autoexp.checkpoints import TRACKER, arguments, folder_name, iteration_of, iterations, judge, read_tracker
from autoexp.errors import HookRefused

TRY_AGAIN = 75
"""The exit status of a refusal that waiting may mend (EX_TEMPFAIL)."""
MOST_DIGITS = 18
SETTLED_S = 600.0
"""After this time no file system shows less than there is."""
_LASTING = {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""What is wrong with a path itself, however long one waits."""
_UNREADABLE = (IsADirectoryError, yaml.YAMLError, ValueError, RecursionError, AttributeError)
TAKES = "from iteration keep"
KEEP = ("link", "copy")
"""How the cooldown may get a checkpoint of its own."""


def prepare(job_dir: Path, /, **values: object) -> dict[str, object]:
    """Make `job_dir`/checkpoints ready to resume from the checkpoint named by `from` and `iteration`.

    Args:
        job_dir: The cooldown's own directory.
        values: `from`, the pretraining's checkpoint directory, `iteration`, the one to branch at, and perhaps
            `keep`, one of `KEEP`.

    Returns:
        The link, what was done, and why; all of it JSON.

    Raises:
        HookRefused: The source is not there or not whole yet (temporary), will not become so, or the
            cooldown's folder holds something else than a cooldown from there; or the pretraining would delete it,
            or the cooldown's flags would make something else of it.
    """
    source, iteration, keep = _read_values(values)
    return branch(source, iteration, job_dir / "checkpoints", keep)


def branch(source: Path, iteration: int, target: Path, keep: str | None = None) -> dict[str, object]:
    """Do the work of `prepare` for a cooldown that saves into `target`."""
    try:
        return _branch(source, iteration, target, keep)
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
    parser.add_argument("--iteration", type=_iteration, required=True, help="the iteration to branch at")
    parser.add_argument("--output", type=Path, required=True, help="the cooldown's checkpoints")
    parser.add_argument("--keep", choices=KEEP, help="give the cooldown a checkpoint of its own")
    args = parser.parse_args(argv)
    try:
        evidence = branch(args.source, args.iteration, args.output, args.keep)
    except HookRefused as refusal:
        print(f"cooldown_symlink: {refusal}", file=sys.stderr)
        return TRY_AGAIN if refusal.temporary else 1
    print(json.dumps(evidence, indent=1))
    return 0


def _iteration(text: str) -> int:
    if not text.isdecimal() or not 1 <= len(text) <= MOST_DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no iteration: write a number from 1 on")
    return int(text)


def _read_values(values: Mapping[str, object]) -> tuple[Path, int, str | None]:
    source, iteration, keep = values.get("from"), values.get("iteration"), values.get("keep")
    if (
        values.keys() - {"keep"} != {"from", "iteration"}
        or keep not in (None, *KEEP)
        or not isinstance(source, str | Path)
        or not isinstance(iteration, int)
        or iteration < 1
    ):
        raise HookRefused(
            "cooldown_symlink was given the wrong values",
            why="it takes from (a folder), iteration (a positive whole number) and perhaps keep (link or copy); "
            f"it got {dict(values)!r}",
            fix='write {from: "${sibling.pretrain.checkpoints}", iteration: 19000}',
        )
    return Path(source), iteration, None if keep is None else str(keep)


def _branch(source: Path, iteration: int, target: Path, keep: str | None) -> dict[str, object]:
    tracker = _check_target(source, iteration, target)
    link = target / folder_name(iteration)
    evidence = {"source": str(source), "iteration": iteration, "link": str(link)}
    if tracker is not None and tracker > iteration:
        _sweep(target)
        return {**evidence, "done": [], "why": f"the cooldown itself is at iteration {tracker} already"}
    kept = _kept(target) / folder_name(iteration)
    if keep:
        _check_place(kept.parent)
    folder = kept if keep and judge(kept).resumable else _whole_source(source, iteration)
    _check_flags(source, folder, iteration, target)
    _make_folder(target)
    done = []
    if keep is None:
        _check_retention(source, folder, iteration)
    elif folder != kept:
        folder, done = kept, _make_kept(folder, kept, keep)
    done += [*_make_link(link, folder, source), *_make_tracker(target, iteration)]
    _sweep(target)
    return {**evidence, "done": done, "why": f"made {' and '.join(done)}" if done else "all stood already"}


# The cooldown's folder.


def _check_target(source: Path, iteration: int, target: Path) -> int | None:
    """Return the cooldown's own tracker; refuse a folder that is not a cooldown from that checkpoint."""
    _check_place(target)
    own = (source, *iterations(source).values())  # which may be links to elsewhere
    if inside := next((place for place in own if files.real(target).is_relative_to(files.real(place))), None):
        stands = f"lies in {inside}" if files.real(target) != files.real(source) else "is the pretraining's own folder"
        raise HookRefused(
            f"{target} {stands}",
            why="a cooldown saves into a folder of its own, and would go over the pretraining's checkpoints",
            fix="correct `from`, or give another --output",
        )
    if (target / TRACKER).is_symlink():  # the cooldown's first save would go through it
        raise _tracker_refused(target, f"is a link to {(target / TRACKER).readlink()}", iteration)
    tracker = read_tracker(target)
    if isinstance(tracker, int) and tracker > iteration:
        _check_progress(target, tracker, iteration)
        _check_origin(source, target, tracker, iteration)
        return tracker
    if isinstance(tracker, str) or (tracker is not None and tracker < iteration):
        says = "is empty, or no number" if tracker == "garbled" else f"says {tracker}"
        raise _tracker_refused(target, says, iteration)
    link = target / folder_name(iteration)
    if os.path.lexists(link) and not _points_at(link, source, iteration):
        raise _link_refused(link, source)
    others = [number for number in iterations(target) if number != iteration]
    if tracker is None and others and read_tracker(target) is None:  # not one that just began
        raise _tracker_refused(target, "is missing beside saved iterations", iteration)
    return tracker


def _check_place(folder: Path) -> None:
    """Refuse what stands where a folder is to be, and will not go away by itself."""
    try:
        why = "" if stat.S_ISDIR(folder.stat().st_mode) else "it is no folder"
    except FileNotFoundError:
        why = "it is a link that leads nowhere" if folder.is_symlink() else ""
    except OSError as error:
        if error.errno not in _LASTING:
            raise
        why = error.strerror or "no folder can have that name"
    if why:
        raise HookRefused(f"{folder} is in the way", why=why, fix="move it away, or give another folder")


def _check_progress(target: Path, tracker: int, iteration: int) -> None:
    """Refuse a tracker that is ahead of what is saved: Megatron-LM would not find its checkpoint."""
    folder = iterations(target).get(tracker)
    if folder is not None and folder.is_symlink() and folder.is_dir():
        raise _tracker_refused(target, f"says {tracker}, which is a link to another branch point", iteration)
    if (folder is None or not folder.is_dir()) and read_tracker(target) == tracker:  # not one that has gone on
        raise _tracker_refused(target, f"says {tracker}, which is not there", iteration)


def _check_origin(source: Path, target: Path, tracker: int, iteration: int) -> None:
    """Refuse progress from another branch point; where no link is left, nothing says that it is."""
    link = target / folder_name(iteration)
    if link.is_symlink() and link.exists() and not _points_at(link, source, iteration):
        raise _link_refused(link, source)
    others = [number for number, folder in iterations(target).items() if folder.is_symlink()]
    if others and not os.path.lexists(link):
        raise HookRefused(
            f"the cooldown in {target} has branched at {others[0]}, not at {iteration}",
            why=f"its link is that of iteration {others[0]}, from which it has gone on to {tracker}",
            fix=f"move {target} away to branch at {iteration}, or correct `iteration`",
        )


def _points_at(link: Path, source: Path, iteration: int) -> bool:
    """Compare where a link points with the source, which need not exist yet, by its own real folder."""
    if not link.is_symlink():
        return False
    goal = files.real(link.parent) / link.readlink()
    places = (files.real(source), files.real(_kept(link.parent)))
    return files.real(goal.parent) in places and iteration_of(goal.name) == iteration


def _kept(target: Path) -> Path:
    """Return where a cooldown's own copy of the branch point stands: it is none of what the cooldown saved."""
    return target.parent / "kept"


def _link_refused(link: Path, source: Path) -> HookRefused:
    what = f"a link to {link.readlink()}" if link.is_symlink() else "no link"
    return HookRefused(
        f"{link} is in the way",
        why=f"it is {what}; the cooldown would not start from {source}",
        fix=f"move {link.parent} away, or correct `from` and `iteration`",
    )


def _tracker_refused(target: Path, says: str, iteration: int) -> HookRefused:
    """Explain a tracker that is no start or progress of this cooldown, and name the newest whole save."""
    whole = [number for number, folder in iterations(target).items() if judge(folder).resumable]
    newest, tracker = max(whole, default=iteration), target / TRACKER
    odd = os.path.lexists(tracker) and (tracker.is_symlink() or not tracker.is_file())
    return HookRefused(
        f"the tracker of {target} {says}",
        why=f"a cooldown from iteration {iteration} has that number there, or a later one of its own",
        fix=f"{f'remove {tracker}; ' if odd else ''}if {newest} is right: printf {newest} > {tracker}; "
        f"else move {target} away",
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
    passed = passed or _was_saved(source, iteration)
    raise HookRefused(
        f"iteration {iteration} of {source} cannot be resumed",
        why=judgement.why,
        fix="choose an iteration that is whole, or save it again" if passed else "wait until it is saved",
        temporary=not passed,
    )


def _was_saved(source: Path, iteration: int) -> bool:
    """Say whether the pretraining told long ago that it had saved that iteration: files of another host come late."""
    tracker = read_tracker(source)
    told = isinstance(tracker, int) and tracker >= iteration
    return told and clock.now() - (source / TRACKER).stat().st_mtime > SETTLED_S


def _missing_refused(source: Path, iteration: int, found: list[int]) -> HookRefused:
    if iteration_of(source.name) is not None:
        return HookRefused(
            f"{source} has no iteration {iteration}",
            why="it is an iteration itself, and not the folder that iterations are saved into",
            fix=f"give {source.parent}",
        )
    before = max((n for n in found if n < iteration), default=None)
    after = min((n for n in found if n > iteration), default=None)
    near = " and ".join(str(n) for n in (before, after) if n is not None)
    return HookRefused(
        f"{source} has no iteration {iteration}",
        why=f"the nearest there: {near}" if near else "nothing is saved there yet",
        fix="wait until it is saved" if after is None else f"branch at one of {near}, or save at {iteration} too",
        temporary=after is None,
    )


# The flags.


def _flags_of(job_dir: Path) -> Mapping[str, object]:
    """Return the flags that a job was planned with; empty for a run that is no job."""
    try:
        said = yaml.safe_load((job_dir / "job.yaml").read_text(encoding="utf-8"))
        args = said.get("args")
        flags = {} if args is None else {str(name): value for name, value in args.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except _UNREADABLE as error:
        raise HookRefused(
            f"{job_dir / 'job.yaml'} cannot be read",
            why=f"{type(error).__name__}: {error}",
            fix="plan the study again: that writes it anew",
        ) from error
    return flags


def _check_flags(source: Path, folder: Path, iteration: int, target: Path) -> None:
    parent = {**arguments(folder), **branching.plain(_flags_of(source.parent))}
    for why, fix in branching.troubles(_flags_of(target.parent), iteration, parent):
        raise HookRefused(f"the cooldown from iteration {iteration} would go wrong", why=why, fix=fix)


def _check_retention(source: Path, folder: Path, iteration: int) -> None:
    """Refuse a source that the pretraining deletes once it saves the next one; a link of its own it leaves alone."""
    policy = branching.deletes({**arguments(folder), **branching.plain(_flags_of(source.parent))}, iteration)
    if policy and not folder.is_symlink():
        raise HookRefused(
            f"the pretraining would delete iteration {iteration} of {source}",
            why=f"it runs with {policy}, and the cooldown's link would lead nowhere",
            fix="write keep: link (hard links) or keep: copy beside from: and iteration:, or branch at one it retains",
        )


# The steps. Each is done once, durable before the next, and harmless to repeat.


def _make_folder(target: Path) -> None:
    if not target.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        files.sync_directory(target.parent)


def _make_kept(folder: Path, kept: Path, how: str) -> list[str]:
    """Give the cooldown a checkpoint of its own, whole from the moment it appears under its name."""
    _make_folder(kept.parent)
    if os.path.lexists(kept) and not (judgement := judge(kept)).resumable:
        raise HookRefused(
            f"{kept} is in the way", why=f"it is no checkpoint to keep: {judgement.why}", fix="move it away"
        )
    draft = files.draft_of(kept)
    shutil.rmtree(draft, ignore_errors=True)  # only a killed process of the same name can have left one
    try:
        _fill(draft, folder, how)
        draft.rename(kept)
    except OSError as error:
        if not judge(kept).resumable:  # else another copy of this hook was quicker
            raise _not_kept(folder, error) from error
        return []
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        files.sync_directory(kept.parent)
    return [how]


def _fill(draft: Path, folder: Path, how: str) -> None:
    shutil.copytree(folder, draft, copy_function=os.link if how == "link" else shutil.copy2)
    for place, _, names in os.walk(draft):
        for name in names if how == "copy" else ():
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        files.sync_directory(Path(place))
    judgement = judge(draft)
    if not judgement.resumable and judge(folder).resumable:
        raise OSError(errno.EIO, judgement.why, str(draft))


def _not_kept(folder: Path, error: OSError) -> HookRefused:
    causes = error.args[0] if isinstance(error, shutil.Error) else [(folder, "", error.strerror)]
    apart = "[Errno 18]" in str(causes) or error.errno in files.NO_HARD_LINKS
    return HookRefused(
        f"{folder} cannot be kept",
        why=f"{causes[0][0]}: {causes[0][2]}",
        fix="write keep: copy: these places cannot share files" if apart else "free some space; it is tried again",
        temporary=not apart,
    )


def _make_link(link: Path, folder: Path, source: Path) -> list[str]:
    """Link to `folder`; making a link fails where anything stands, so it can replace nothing."""
    goal = os.path.relpath(files.real(folder.parent) / folder.name, files.real(link.parent))
    try:
        link.symlink_to(goal)
    except FileExistsError:
        if not _points_at(link, source, iteration_of(folder.name) or 0):
            raise _link_refused(link, source) from None
        return []
    finally:
        files.sync_directory(link.parent)
    return ["link"]


def _make_tracker(target: Path, iteration: int) -> list[str]:
    """Write the tracker unless there is one by now: another copy of this hook, or the cooldown itself."""
    if (target / TRACKER).exists():
        return []
    draft = files.draft_of(target / TRACKER)
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
    for draft in _kept(target).glob(".iter_*.tmp"):
        shutil.rmtree(draft, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
