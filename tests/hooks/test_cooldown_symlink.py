import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.checkpoints import judge
from autoexp.errors import HookRefused

if TYPE_CHECKING:
    from tests.conftest import Room

ROOT = Path(__file__).parent.parent.parent
HOOK = ROOT / "hooks" / "cooldown_symlink.py"
TRACKER = "latest_checkpointed_iteration.txt"
AT = 1500


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("cooldown_symlink")


@pytest.fixture
def source(tmp_path: Path, megatron: Callable[..., Any]) -> Path:
    """A pretraining that has saved the branch point and gone on."""
    checkpoints = tmp_path / "jobs" / "pretrain" / "checkpoints"
    tiny = megatron(hidden=4, layers=1, heads=1, groups=1, head_dim=4, ffn=4, vocab=4)
    for iteration in (1000, AT, 2000):
        tiny.save(checkpoints, iteration)
    return checkpoints


@pytest.fixture
def job(source: Path) -> Path:
    folder = source.parent.parent / "cooldown"
    folder.mkdir(parents=True)
    return folder


def state(folder: Path) -> dict[str, str]:
    """Return all that stands in a cooldown's folder: links by their goal, files by their content."""
    return {
        entry.name: f"-> {entry.readlink()}" if entry.is_symlink() else entry.read_text()
        for entry in folder.iterdir()
        if entry.is_symlink() or entry.is_file()
    }


READY = {"iter_0001500": "-> ../../pretrain/checkpoints/iter_0001500", TRACKER: "1500"}


def test_a_cooldown_gets_a_relative_link_and_a_tracker_without_a_newline(
    hook: ModuleType, source: Path, job: Path
) -> None:
    evidence = hook.prepare(job, **{"from": str(source), "iteration": AT})

    assert state(job / "checkpoints") == READY
    assert evidence["done"] == ["link", "tracker"]
    assert (job / "checkpoints" / "iter_0001500" / "mp_rank_00").is_dir()
    json.dumps(evidence)


def test_a_second_run_does_nothing_and_says_so(hook: ModuleType, source: Path, job: Path) -> None:
    hook.prepare(job, **{"from": str(source), "iteration": AT})
    before = (job / "checkpoints" / TRACKER).stat().st_mtime_ns

    evidence = hook.prepare(job, **{"from": source, "iteration": AT})

    assert evidence["done"] == []
    assert (job / "checkpoints" / TRACKER).stat().st_mtime_ns == before


def test_a_moved_study_keeps_its_link(hook: ModuleType, source: Path, job: Path, tmp_path: Path) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (tmp_path / "jobs").rename(tmp_path / "moved")

    link = tmp_path / "moved" / "cooldown" / "checkpoints" / "iter_0001500"

    assert (link / "mp_rank_00" / "model_optim_rng.pt").is_file()
    moved = link.parent.parent
    assert hook.prepare(moved, **{"from": moved.parent / "pretrain" / "checkpoints", "iteration": AT})["done"] == []


def test_the_link_leads_there_from_a_folder_reached_through_a_link(
    hook: ModuleType, source: Path, tmp_path: Path
) -> None:
    real = tmp_path / "elsewhere" / "deep" / "cooldown"
    real.mkdir(parents=True)
    (tmp_path / "short").symlink_to(real)

    hook.prepare(tmp_path / "short", **{"from": source, "iteration": AT})

    assert (real / "checkpoints" / "iter_0001500" / "mp_rank_00").is_dir()


@pytest.mark.parametrize("padding", ["iter_1500", "iter_000000001500"])
def test_the_number_counts_not_its_padding_but_the_link_is_named_as_megatron_looks_for_it(
    hook: ModuleType, source: Path, job: Path, padding: str
) -> None:
    (source / "iter_0001500").rename(source / padding)
    shutil.copytree(source / "iter_0001000", source / "iter_0011500")

    hook.prepare(job, **{"from": source, "iteration": AT})

    assert state(job / "checkpoints")["iter_0001500"].endswith(padding)


# The cooldown's own progress.


def test_progress_of_the_cooldown_itself_is_never_reset_even_when_the_source_is_gone(
    hook: ModuleType, source: Path, job: Path
) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / TRACKER).write_text("1800")
    (job / "checkpoints" / "iter_0001800").mkdir()
    shutil.rmtree(source)

    evidence = hook.prepare(job, **{"from": source, "iteration": AT})

    assert evidence["done"] == []
    assert "1800" in evidence["why"]
    assert (job / "checkpoints" / TRACKER).read_text() == "1800"


@pytest.mark.parametrize(
    ("content", "says"),
    [("1400", "says 1400"), ("", "is empty, or no number"), ("release", "says release"), ("12x", "or no number")],
)
def test_a_tracker_that_is_no_progress_of_this_cooldown_is_refused_and_left_alone(
    hook: ModuleType, source: Path, job: Path, content: str, says: str
) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / TRACKER).write_text(content)

    with pytest.raises(HookRefused, match=says) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert "printf 1500" in refusal.value.fix
    assert (job / "checkpoints" / TRACKER).read_text() == content


@pytest.mark.parametrize("left", [None, "a file", "a dangling link"])
def test_a_tracker_ahead_of_what_is_saved_is_refused_with_what_is(
    hook: ModuleType, source: Path, job: Path, left: str | None
) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / TRACKER).write_text("1800")
    if left == "a file":
        (job / "checkpoints" / "iter_0001800").touch()
    elif left:
        (job / "checkpoints" / "iter_0001800").symlink_to("nowhere")

    with pytest.raises(HookRefused, match="says 1800, which is not there") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert f"if 1500 is right: printf 1500 > {job / 'checkpoints' / TRACKER}" in refusal.value.fix


def test_a_cooldown_from_a_later_branch_point_is_none_from_an_earlier_one(
    hook: ModuleType, source: Path, job: Path
) -> None:
    hook.prepare(job, **{"from": source, "iteration": 2000})

    with pytest.raises(HookRefused, match="says 2000, which is a link to another branch point"):
        hook.prepare(job, **{"from": source, "iteration": AT})


def test_progress_from_another_branch_point_is_none_from_this_one(hook: ModuleType, source: Path, job: Path) -> None:
    hook.prepare(job, **{"from": source, "iteration": 1000})
    (job / "checkpoints" / "iter_0001800").mkdir()
    (job / "checkpoints" / TRACKER).write_text("1800")

    with pytest.raises(HookRefused, match="has branched at 1000, not at 1500") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert "gone on to 1800" in refusal.value.why


def test_progress_from_another_pretraining_is_none_from_this_one(hook: ModuleType, source: Path, job: Path) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / "iter_0001800").mkdir()
    (job / "checkpoints" / TRACKER).write_text("1800")

    with pytest.raises(HookRefused, match="iter_0001500 is in the way"):
        hook.prepare(job, **{"from": source.parent.parent / "other" / "checkpoints", "iteration": AT})


@pytest.mark.parametrize("odd", ["a dangling link", "a circle", "a folder"])
def test_a_tracker_that_is_no_file_is_refused_for_good_with_what_mends_it(
    hook: ModuleType, source: Path, job: Path, odd: str
) -> None:
    tracker = job / "checkpoints" / TRACKER
    tracker.parent.mkdir()
    if odd == "a folder":
        tracker.mkdir()
    else:
        tracker.symlink_to("nowhere" if odd == "a dangling link" else TRACKER)

    with pytest.raises(HookRefused, match="the tracker of") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert refusal.value.fix.startswith(f"remove {tracker}; ")
    assert os.path.lexists(tracker)


@pytest.mark.parametrize("says", ["1500", "2000"])
def test_a_tracker_that_is_a_link_is_refused_because_the_cooldown_would_write_through_it(
    hook: ModuleType, source: Path, job: Path, says: str
) -> None:
    (source / TRACKER).write_text(says)
    (job / "checkpoints" / "iter_0002000").mkdir(parents=True)
    (job / "checkpoints" / TRACKER).symlink_to(source / TRACKER)

    with pytest.raises(HookRefused, match=f"the tracker of .* is a link to {source / TRACKER}") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert refusal.value.fix.startswith(f"remove {job / 'checkpoints' / TRACKER}; ")
    assert (source / TRACKER).read_text() == says


@pytest.mark.parametrize("name", ["checkpoints", "kept"])
@pytest.mark.parametrize("odd", ["a file", "a dangling link", "a circle", "a pipe"])
def test_what_is_no_folder_where_one_is_to_be_is_refused_for_good(
    hook: ModuleType, source: Path, job: Path, name: str, odd: str
) -> None:
    place = job / name
    match odd:
        case "a file":
            place.touch()
        case "a pipe":
            os.mkfifo(place)
        case _:
            place.symlink_to("nowhere" if odd == "a dangling link" else name)

    with pytest.raises(HookRefused, match=f"{place} is in the way") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT, "keep": "link"})

    assert not refusal.value.temporary
    assert sorted(path.name for path in job.iterdir()) == [name]


@pytest.mark.parametrize("name", ["x" * 300, "file/checkpoints"])
def test_a_name_that_no_folder_can_have_is_refused_for_good(
    hook: ModuleType, source: Path, job: Path, name: str
) -> None:
    (job / "file").touch()

    with pytest.raises(HookRefused, match="is in the way") as refusal:
        hook.branch(source, AT, job / name)

    assert not refusal.value.temporary


@pytest.mark.parametrize("odd", ["a file", "a torn checkpoint"])
def test_what_is_no_checkpoint_where_one_is_to_be_kept_is_refused_for_good(
    hook: ModuleType, source: Path, job: Path, odd: str
) -> None:
    kept = job / "kept" / "iter_0001500"
    kept.parent.mkdir()
    if odd == "a file":
        kept.touch()
    else:
        (kept / "mp_rank_00").mkdir(parents=True)

    with pytest.raises(HookRefused, match=f"{kept} is in the way") as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT, "keep": "copy"})

    assert not refusal.value.temporary
    assert os.path.lexists(kept)


def test_a_cooldown_in_the_pretrainings_own_folder_is_refused(hook: ModuleType, source: Path) -> None:
    with pytest.raises(HookRefused, match="is the pretraining's own folder"):
        hook.prepare(source.parent, **{"from": source, "iteration": AT})


def test_a_tracker_lost_beside_own_saves_is_not_written_back_to_the_start(
    hook: ModuleType, source: Path, job: Path
) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / TRACKER).unlink()
    shutil.copytree(source / "iter_0002000", job / "checkpoints" / "iter_0002000")

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert "printf 2000" in refusal.value.fix


def test_a_lost_link_is_made_again_below_a_tracker_at_the_branch_point(
    hook: ModuleType, source: Path, job: Path
) -> None:
    hook.prepare(job, **{"from": source, "iteration": AT})
    (job / "checkpoints" / "iter_0001500").unlink()

    assert hook.prepare(job, **{"from": source, "iteration": AT})["done"] == ["link"]
    assert state(job / "checkpoints") == READY


@pytest.mark.parametrize("obstacle", ["another link", "a folder", "a file", "a circle"])
def test_whatever_else_has_the_links_name_is_refused_and_left_alone(
    hook: ModuleType, source: Path, job: Path, obstacle: str
) -> None:
    link = job / "checkpoints" / "iter_0001500"
    link.parent.mkdir()
    match obstacle:
        case "another link":
            link.symlink_to(source / "iter_0001000")
        case "a folder":
            (link / "mp_rank_00").mkdir(parents=True)
        case "a file":
            link.write_text("")
        case _:
            link.symlink_to(link.name)

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert os.path.lexists(link)
    assert not (job / "checkpoints" / TRACKER).exists()


# The source.


def test_a_source_that_is_not_there_yet_is_a_reason_to_wait(hook: ModuleType, source: Path, job: Path) -> None:
    for iteration in (AT, 2000):
        shutil.rmtree(source / f"iter_000{iteration}")
    for folder in (source, source.parent / "absent"):
        with pytest.raises(HookRefused) as refusal:
            hook.prepare(job, **{"from": folder, "iteration": AT})
        assert refusal.value.temporary
    assert not (job / "checkpoints").exists()


def test_an_iteration_in_the_place_of_its_folder_is_refused_for_good(hook: ModuleType, source: Path, job: Path) -> None:
    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source / "iter_0001500", "iteration": AT})

    assert not refusal.value.temporary
    assert refusal.value.fix == f"give {source}"


def test_a_source_that_was_passed_without_saving_is_refused_for_good_with_the_nearest(
    hook: ModuleType, source: Path, job: Path
) -> None:
    shutil.rmtree(source / "iter_0001500")

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert "1000 and 2000" in refusal.value.why


def cut(folder: Path) -> None:
    file = folder / "mp_rank_00" / "model_optim_rng.pt"
    file.write_bytes(file.read_bytes()[:-100])


def test_a_half_written_source_is_waited_for_until_the_pretraining_has_passed_it(
    hook: ModuleType, source: Path, job: Path
) -> None:
    cut(source / "iter_0001500")
    cut(source / "iter_0002000")
    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})
    assert refusal.value.temporary

    shutil.rmtree(source / "iter_0002000")
    shutil.copytree(source / "iter_0001000", source / "iter_2000x")
    shutil.copytree(source / "iter_0001000", source / "release")
    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})
    assert refusal.value.temporary


def test_a_source_that_was_said_to_be_saved_long_ago_is_waited_for_no_more(
    hook: ModuleType, source: Path, job: Path
) -> None:
    tracker = source / "latest_checkpointed_iteration.txt"
    cut(source / "iter_0001500")
    shutil.rmtree(source / "iter_0002000")
    for number, age_s, waits in ((AT, 0, True), (AT - 1, 3600, True), (AT, 3600, False)):
        tracker.write_text(str(number))
        os.utime(tracker, times=(time.time() - age_s,) * 2)

        with pytest.raises(HookRefused, match="cannot be resumed") as refusal:
            hook.prepare(job, **{"from": source, "iteration": AT})

        assert refusal.value.temporary is waits


def test_a_torn_save_that_the_pretraining_left_behind_is_refused_for_good(
    hook: ModuleType, source: Path, job: Path
) -> None:
    cut(source / "iter_0001500")

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert not refusal.value.temporary
    assert "not a whole zip" in refusal.value.why


def test_a_source_without_its_optimizer_cannot_be_cooled_down(
    hook: ModuleType, tmp_path: Path, job: Path, megatron: Callable[..., Any]
) -> None:
    bare = tmp_path / "bare"
    megatron(layers=1).save(bare, AT, arguments={"no_save_optim": True}, without=("optimizer",))

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": bare, "iteration": AT})

    assert not refusal.value.temporary
    assert "optimizer" in refusal.value.why


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"from": "x"},
        {"iteration": AT},
        {"from": "x", "iteration": "1500"},
        {"from": "x", "iteration": 0},
        {"from": 3, "iteration": AT},
        {"from": "x", "iteration": AT, "form": "x"},
        {"from": "x", "iteration": AT, "keep": "move"},
    ],
)
def test_wrong_values_are_refused_with_the_right_ones(hook: ModuleType, job: Path, values: dict[str, Any]) -> None:
    with pytest.raises(HookRefused, match="wrong values"):
        hook.prepare(job, **values)


# The flags of both.

COOLDOWN: dict[str, Any] = {
    "train-iters": 2000,
    "lr": 0.01,
    "lr-decay-style": "WSD",
    "lr-wsd-decay-iters": 500,
    "override-opt_param-scheduler": True,
}


def planned(folder: Path, **args: object) -> None:
    (folder / "job.yaml").write_text(json.dumps({"args": {name.replace("_", "-"): v for name, v in args.items()}}))


def test_a_right_cooldown_is_let_through(hook: ModuleType, source: Path, job: Path) -> None:
    (job / "job.yaml").write_text(json.dumps({"args": COOLDOWN}))
    planned(source.parent, lr=0.01, save_retain_interval=500)

    assert hook.prepare(job, **{"from": source, "iteration": AT})["done"] == ["link", "tracker"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train-iters": AT}, "end at once"),
        ({"lr-wsd-decay-iters": 600}, "there are 500"),
        ({"override-opt_param-scheduler": None}, "own schedule"),
        ({"lr": 0.02}, "the pretraining's 0.01"),
    ],
)
def test_a_cooldown_whose_flags_would_make_something_else_of_it_is_refused_before_anything_is_made(
    hook: ModuleType, source: Path, job: Path, change: dict[str, Any], why: str
) -> None:
    (job / "job.yaml").write_text(json.dumps({"args": {**COOLDOWN, **change}}))
    planned(source.parent, lr=0.01)

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert why in refusal.value.why
    assert not refusal.value.temporary
    assert not (job / "checkpoints").exists()


def test_the_checkpoints_own_flags_count_where_the_pretraining_is_no_job(
    hook: ModuleType, tmp_path: Path, job: Path, megatron: Callable[..., Any]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    megatron(layers=1).save(elsewhere, AT, arguments={"lr": 0.01, "save_retain_interval": 1000})
    (job / "job.yaml").write_text(json.dumps({"args": {**COOLDOWN, "lr": 0.02}}))

    with pytest.raises(HookRefused, match="would go wrong"):
        hook.prepare(job, **{"from": elsewhere, "iteration": AT})
    (job / "job.yaml").unlink()
    with pytest.raises(HookRefused, match="would delete"):
        hook.prepare(job, **{"from": elsewhere, "iteration": AT})


def test_a_pretraining_that_would_delete_the_branch_point_is_refused_with_the_way_out(
    hook: ModuleType, source: Path, job: Path
) -> None:
    planned(source.parent, save_retain_interval=1000)

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT})

    assert "--save-retain-interval 1000" in refusal.value.why
    assert "keep: link" in refusal.value.fix
    assert not refusal.value.temporary


@pytest.mark.parametrize("text", ["args: [", "", "[]", "args: [lr]", "[" * 5000, f"args: {{lr: {'9' * 5000}}}"])
def test_a_job_yaml_that_cannot_be_read_is_refused_not_ignored(
    hook: ModuleType, source: Path, job: Path, text: str
) -> None:
    (job / "job.yaml").write_text(text)

    with pytest.raises(HookRefused, match=r"job\.yaml cannot be read"):
        hook.prepare(job, **{"from": source, "iteration": AT})


def test_a_flag_that_is_named_by_a_number_is_none_of_the_traps(hook: ModuleType, source: Path, job: Path) -> None:
    (job / "job.yaml").write_text("args: {5: 6}")

    assert hook.prepare(job, **{"from": source, "iteration": AT})["done"] == ["link", "tracker"]


KEPT = {"iter_0001500": "-> ../kept/iter_0001500", TRACKER: "1500"}


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_kept_checkpoint_outlives_its_source(hook: ModuleType, source: Path, job: Path, how: str) -> None:
    planned(source.parent, save_retain_interval=1000)
    values = {"from": source, "iteration": AT, "keep": how}

    assert hook.prepare(job, **values)["done"] == [how, "link", "tracker"]

    shard = job / "checkpoints" / "iter_0001500" / "mp_rank_00" / "model_optim_rng.pt"
    assert shard.stat().st_nlink == (2 if how == "link" else 1)
    shutil.rmtree(source)
    assert judge(job / "checkpoints" / "iter_0001500").resumable
    assert hook.prepare(job, **values)["done"] == []
    assert state(job / "checkpoints") == KEPT
    assert [entry.name for entry in (job / "kept").iterdir()] == ["iter_0001500"]


def test_places_that_cannot_share_files_are_told_to_copy(
    hook: ModuleType, source: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apart(old: str, new: str, **_kwargs: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", old, None, new)

    monkeypatch.setattr(os, "link", apart)

    with pytest.raises(HookRefused) as refusal:
        hook.prepare(job, **{"from": source, "iteration": AT, "keep": "link"})

    assert "keep: copy" in refusal.value.fix
    assert not refusal.value.temporary
    assert list((job / "kept").iterdir()) == []


# Killed anywhere, failed anywhere, beside itself.

CALLS = ("mkdir", "symlink", "link", "unlink", "rename", "open", "fsync", "close")
WAYS = [
    pytest.param((), READY, id="linked"),
    pytest.param(("--keep", "link"), KEPT, id="hard-linked"),
    pytest.param(("--keep", "copy"), KEPT, id="copied"),
]


def killing(when: str) -> str:
    """Return a program that runs the hook and dies at its N-th call of the file system."""
    return f"""
import os, sys
count = int(sys.argv.pop(1))
def mortal(call):
    def die_at_last(*args, **kwargs):
        global count
        count -= 1
        if count == 0 and {when == "before"}: os._exit(9)
        try:
            return call(*args, **kwargs)
        finally:
            if count == 0: os._exit(9)
    return die_at_last
sys.path.insert(0, {str(HOOK.parent)!r})
import cooldown_symlink
for name in {CALLS!r}: setattr(os, name, mortal(getattr(os, name)))
raise SystemExit(cooldown_symlink.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("keep", "ready"), WAYS)
def test_killed_at_any_call_and_run_again_it_ends_in_the_same_place(
    hook: ModuleType,
    source: Path,
    job: Path,
    *,
    environment: dict[str, str],
    keep: tuple[str, ...],
    ready: dict[str, str],
    when: str,
) -> None:
    flags = ["--from", str(source), "--iteration", str(AT), "--output", str(job / "checkpoints"), *keep]
    for count in range(1, 200):
        for folder in ("checkpoints", "kept"):
            shutil.rmtree(job / folder, ignore_errors=True)
        command = [sys.executable, "-c", killing(when), str(count), *flags]
        killed = subprocess.run(command, env=environment, check=False, capture_output=True)
        if killed.returncode == 0:
            break
        assert killed.returncode == 9
        with contextlib.suppress(FileNotFoundError):
            left = state(job / "checkpoints")
            assert left.get(TRACKER, "1500") == "1500"
            assert TRACKER not in left or "iter_0001500" in left
            assert "iter_0001500" not in left or judge(job / "checkpoints" / "iter_0001500").resumable
        assert hook.main(flags) == 0
        assert state(job / "checkpoints") == ready
        assert judge(job / "checkpoints" / "iter_0001500").resumable
        assert [entry.name for entry in (job / "kept").glob("*")] == ["iter_0001500"] * bool(keep)
    assert count > 12


def ask(hook: ModuleType, source: Path, job: Path) -> HookRefused | None:
    try:
        hook.prepare(job, **{"from": source, "iteration": AT})
    except HookRefused as refusal:
        return refusal
    return None


def test_an_error_at_any_call_is_temporary_and_the_next_run_mends_it(
    hook: ModuleType, source: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fatal in range(1, 100):
        shutil.rmtree(job / "checkpoints", ignore_errors=True)
        count = fatal

        def fail(call: Callable[..., object], *args: object, **kwargs: object) -> object:
            nonlocal count
            count -= 1
            if count == 0:
                raise OSError(errno.EIO, "Input/output error", "somewhere")
            return call(*args, **kwargs)

        with monkeypatch.context() as patch:
            for name in ("mkdir", "symlink", "link", "unlink", "fsync"):
                call = getattr(os, name)
                patch.setattr(os, name, lambda *a, _call=call, **k: fail(_call, *a, **k))
            answer = ask(hook, source, job)
        assert answer is None or (answer.temporary and "Input/output" in answer.why)
        hook.prepare(job, **{"from": source, "iteration": AT})
        assert state(job / "checkpoints") == READY
        if count > 0:
            break
    assert fatal > 5


def test_a_file_system_without_hard_links_gets_its_tracker_by_a_rename(
    hook: ModuleType, source: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)

    hook.prepare(job, **{"from": source, "iteration": AT})

    assert state(job / "checkpoints") == READY


def test_a_cooldown_that_begins_while_we_look_keeps_its_tracker(
    hook: ModuleType, source: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(old: Path, new: Path) -> None:
        (job / "checkpoints" / TRACKER).write_text("1800")
        link(old, new)

    monkeypatch.setattr(os, "link", late)

    evidence = hook.prepare(job, **{"from": source, "iteration": AT})

    assert evidence["done"] == ["link"]
    assert state(job / "checkpoints") == {**READY, TRACKER: "1800"}


@pytest.mark.parametrize(("keep", "ready"), WAYS)
def test_copies_that_race_make_one_link_and_one_tracker(
    source: Path, job: Path, environment: dict[str, str], keep: tuple[str, ...], ready: dict[str, str]
) -> None:
    flags = ["--from", str(source), "--iteration", str(AT), "--output", str(job / "checkpoints"), *keep]
    for _ in range(3):
        for folder in ("checkpoints", "kept"):
            shutil.rmtree(job / folder, ignore_errors=True)
        copies = [
            subprocess.Popen([sys.executable, str(HOOK), *flags], env=environment, stdout=subprocess.PIPE)
            for _ in range(6)
        ]
        done = [json.loads(copy.communicate()[0])["done"] for copy in copies]

        assert [copy.returncode for copy in copies] == [0] * 6
        assert sorted(step for steps in done for step in steps) == sorted([*keep[1:], "link", "tracker"])
        assert state(job / "checkpoints") == ready
        assert [entry.name for entry in (job / "kept").glob("*")] == ["iter_0001500"] * bool(keep)


# By hand.


@pytest.mark.parametrize("text", ["0", "-1", "x", "9" * 5000, "1.5"])
def test_by_hand_an_iteration_is_a_number_from_one_on(
    hook: ModuleType, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        hook.main(["--from", "a", "--output", "b", f"--iteration={text}"])

    assert ended.value.code == 2
    assert "write a number from 1 on" in capsys.readouterr().err


def test_by_hand_a_refusal_is_three_lines_and_says_whether_to_wait(
    source: Path, job: Path, environment: dict[str, str]
) -> None:
    def run(iteration: int) -> subprocess.CompletedProcess[str]:
        flags = ["--from", str(source), "--iteration", str(iteration), "--output", str(job / "checkpoints")]
        return subprocess.run(
            [sys.executable, str(HOOK), *flags], env=environment, check=False, capture_output=True, text=True
        )

    assert [run(1700).returncode, run(9000).returncode] == [1, 75]
    lines = run(1700).stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["cooldown_symlink", "why", "fix"]


# In a study.

STUDY = """
pretrain: {{command: 'true'}}
cooldown:
  needs: pretrain
  backend: megatron
  params: {{program: "{program}"}}
  prepare: {{cooldown_symlink: {{from: "{source}", iteration: 10}}}}
  args: {{train-iters: 20}}
  retry: {{max_attempts: 3, backoff: 0.01s}}
"""
FORGETFUL = """
import pathlib, sys, time
tracker = pathlib.Path(sys.argv[sys.argv.index("--load") + 1]) / "latest_checkpointed_iteration.txt"
assert tracker.read_text() == "10"
print({line!r}, flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("line", "then"),
    [
        ("    will not load any checkpoints and will start from random", "time.sleep(600)"),
        ("    will not load any checkpoints and will start from random", ""),
        ("ERROR: Invalid metadata file latest_checkpointed_iteration.txt. Exiting", ""),
        (" loading checkpoint from elsewhere at iteration 4", "time.sleep(600)"),
    ],
)
def test_a_cooldown_that_does_not_begin_at_its_branch_point_is_stopped_and_explained(
    room: "Room", save_checkpoint: Callable[..., Path], line: str, then: str
) -> None:
    save_checkpoint(room.home / "source", 10)
    program = room.write("train.py", FORGETFUL.format(line=line, then=then))
    room.plan(STUDY.format(program=program, source=room.home / "source"))

    done = room.run("watch", room.root, "--until-done")

    row = room.rows()["cooldown"]
    assert (done.returncode, row["state"], row["attempt"]) == (1, "failed", 1)
    assert "iteration 10" in row["reason"] or "from 10" in row["reason"]
    assert line.strip() in row["reason"] or "continues from iteration 4" in row["reason"]
    assert ("went_astray", "running", "stopping") in room.moves("cooldown")


LIMITED = """
import subprocess, sys
trainer = [sys.executable, "-m", "autoexp.trainers.gpt", *sys.argv[1:]]
child = subprocess.Popen(trainer, stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    print(line, end="", flush=True)
    if "successfully saved checkpoint" in line and "--override-opt_param-scheduler" in sys.argv and {unfinished}:
        child.kill()
        print("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-07-10T11:05:02 DUE TO TIME LIMIT ***", flush=True)
        sys.exit(1)
sys.exit(child.wait())
"""
LONG = """
pretrain:
  backend: megatron
  params: &ours {{program: "{program}"}}
  args: &training
    num-layers: 1
    hidden-size: 16
    ffn-hidden-size: 32
    num-attention-heads: 2
    seq-length: 16
    micro-batch-size: 4
    train-iters: 4
    lr: 2e-3
    lr-decay-style: WSD
    lr-wsd-decay-style: linear
    lr-wsd-decay-iters: 0
    save-interval: 4
    log-interval: 1
    eval-iters: 0
cooldown:
  backend: megatron
  params: *ours
  start: {{checkpoint_reached: {{stage: pretrain, iteration: 4}}}}
  prepare: {{cooldown_symlink: {{from: "${{sibling.pretrain.checkpoints}}", iteration: 4}}}}
  args:
    <<: *training
    train-iters: 12
    lr-decay-iters: 12
    lr-wsd-decay-iters: 8
    save-interval: 2
    override-opt_param-scheduler: true
  retry: {{max_attempts: 2, backoff: 0.01s}}
"""


def test_a_cooldown_longer_than_three_allocations_keeps_what_each_of_them_did(room: "Room") -> None:
    program = room.write("train.py", LIMITED.format(unfinished='"iteration      12" not in line'))
    room.plan(LONG.format(program=program))

    done = room.run("watch", room.root, "--until-done")

    assert (done.returncode, done.stderr) == (0, "")
    logs = [path.read_text() for path in sorted(room.job_dir("cooldown").glob("attempts/*/output.log"))]
    begun = [int(found[1]) for log in logs if (found := re.search(r" loading checkpoint .* iteration (\d+)", log))]
    rates = re.findall(r"learning rate: (\S+)", "".join(logs))
    assert begun == [4, 6, 8, 10]
    assert room.rows()["cooldown"]["state"] == "succeeded"
    assert [float(rate) for rate in rates] == pytest.approx([2e-3 * left / 8 for left in range(7, -1, -1)])
    assert state(room.job_dir("cooldown") / "checkpoints")[TRACKER] == "12"


@pytest.mark.parametrize("place", ["cooldown", "iter_0001500/cooldown", "iter_0001500/mp_rank_01"])
def test_a_cooldown_inside_the_pretrainings_folder_is_refused(
    hook: ModuleType, source: Path, tmp_path: Path, place: str
) -> None:
    before = sorted(source.rglob("*"))
    (tmp_path / "link").symlink_to(source)

    for target in (source / place, tmp_path / "link" / place):
        with pytest.raises(HookRefused, match="lies in"):
            hook.branch(source, AT, target)

    assert sorted(source.rglob("*")) == before


def test_a_cooldown_inside_an_iteration_that_is_kept_elsewhere_is_refused(
    hook: ModuleType, source: Path, tmp_path: Path
) -> None:
    (source / "iter_0001500").rename(tmp_path / "elsewhere")
    (source / "iter_0001500").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HookRefused, match="lies in"):
        hook.branch(source, AT, tmp_path / "elsewhere" / "cooldown")

    assert not (tmp_path / "elsewhere" / "cooldown").exists()
