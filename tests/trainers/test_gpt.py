import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoexp.trainers import sharding
from autoexp.trainers.checkpoints import TRACKER, archive, read, write

DONE = "[after training is done] datetime: "
FROM_RANDOM = "will not load any checkpoints and will start from random"
EXITING = "[exiting program after receiving SIGTERM.] datetime: "

Train = Callable[[str], Any]
Start = Callable[..., subprocess.Popen[str]]
Ended = Callable[[subprocess.Popen[str]], Any]


def same(one: object, two: object) -> bool:
    """Compare two contents bit by bit."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def same_training(one: Path, two: Path, iteration: int) -> bool:
    """Compare two checkpoints apart from their command lines."""
    contents = [read(root, iteration) for root in (one, two)]
    for content in contents:
        del content["args"]
    return same(*contents)


def branch(parent: Path, own: Path, iteration: int) -> None:
    """Prepare a folder as a cooldown finds it."""
    own.mkdir()
    name = f"iter_{iteration:07d}"
    (own / name).symlink_to(parent / name)
    (own / TRACKER).write_text(str(iteration), encoding="utf-8")


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read the log up to the line with `text`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    pytest.fail(f"no {text!r} in {seen}")


def test_a_training_learns_and_says_so(train: Train) -> None:
    ran = train("--train-iters 30")
    losses = [float(loss) for loss in ran.losses]
    assert ran.status == 0
    assert losses[0] == pytest.approx(5.55, abs=0.1)  # ln 256: it knows nothing yet
    assert losses[-1] < 3.7
    assert ran.iterations == list(range(1, 31))
    assert ran.out.splitlines()[-1].startswith(DONE)
    assert ran.err == ""


def test_an_uninterrupted_and_a_resumed_run_are_the_same_run(train: Train, tmp_path: Path) -> None:
    course = "--lr-warmup-iters 3 --lr-decay-style WSD --lr-wsd-decay-iters 4 --min-lr 1e-4"
    whole = train(f"--train-iters 12 {course} --save {tmp_path}/whole")
    flags = f"--train-iters 12 {course} --save {tmp_path}/halves --load {tmp_path}/halves --save-interval 7"
    first = train(f"{flags} --override-opt_param-scheduler --train-iters 7 --lr-decay-iters 12")
    second = train(f"{flags} --override-opt_param-scheduler")

    assert FROM_RANDOM in first.out
    assert FROM_RANDOM not in second.out
    assert second.iterations == [8, 9, 10, 11, 12]
    assert first.losses + second.losses == whole.losses
    assert same_training(tmp_path / "whole", tmp_path / "halves", 12)


def test_the_order_of_samples_does_not_depend_on_the_micro_batch(train: Train) -> None:
    one, two = train("--train-iters 4 --micro-batch-size 8"), train("--train-iters 4 --micro-batch-size 2")
    for left, right in zip(one.losses, two.losses, strict=True):
        assert float(left) == pytest.approx(float(right), rel=1e-5)


def test_checkpoints_stand_at_the_interval_at_extra_steps_and_at_the_end(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 8 --save {tmp_path} --save-interval 3 --save-extra-steps 4")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "iter_0000003",
        "iter_0000004",
        "iter_0000006",
        "iter_0000008",
        TRACKER,
    ]
    assert re.findall(r"successfully saved checkpoint from iteration +(\d+)", ran.out) == ["3", "4", "6", "8"]
    assert ran.out.index(DONE) < ran.out.index("saving checkpoint at iteration       8")


def test_a_last_checkpoint_on_the_interval_comes_before_the_done_line(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 4 --save {tmp_path} --save-interval 2")
    assert ran.out.index("successfully saved checkpoint from iteration       4") < ran.out.index(DONE)
    assert ran.out.count("saving checkpoint at iteration       4") == 1


def test_a_finished_run_started_again_says_done_and_changes_nothing(train: Train, tmp_path: Path) -> None:
    flags = f"--train-iters 3 --save {tmp_path} --load {tmp_path} --eval-iters 1"
    train(flags)
    before = archive(tmp_path, 3).stat().st_mtime_ns
    again = train(flags)
    assert again.status == 0
    assert DONE in again.out
    assert again.iterations == []
    assert archive(tmp_path, 3).stat().st_mtime_ns == before


def test_held_out_text_is_evaluated_at_intervals_and_at_the_end(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 6 --eval-iters 2 --eval-interval 3 --save {tmp_path}")
    found = re.findall(r" validation loss at iteration (\d+)( on validation set)? \| lm loss value: (\S+) ", ran.out)
    assert [(at, where) for at, where, _ in found] == [("3", ""), ("6", " on validation set")]
    assert float(found[1][2]) < float(found[0][2])
    assert ran.out.index(DONE) < ran.out.index("on validation set")


def test_without_a_tracker_a_run_starts_anew_and_says_so(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 1 --load {tmp_path / 'none'}")
    assert ran.status == 0
    assert FROM_RANDOM in ran.out


def test_a_demanded_checkpoint_that_is_missing_ends_with_status_2(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 1 --load {tmp_path} --exit-on-missing-checkpoint")
    assert ran.status == 2
    assert "iteration " not in ran.out
    assert FROM_RANDOM not in ran.out
    assert "fix: " in ran.err


@pytest.mark.parametrize("tracker", ["", "soon", "7"])
def test_a_tracker_that_leads_nowhere_ends_with_status_1(train: Train, tmp_path: Path, tracker: str) -> None:
    (tmp_path / TRACKER).write_text(tracker)
    ran = train(f"--train-iters 1 --load {tmp_path}")
    assert ran.status == 1
    assert ran.err.startswith("gpt: cannot ")
    assert "Traceback" not in ran.err
    assert ran.iterations == []


def test_a_torn_checkpoint_ends_with_status_1(train: Train, tmp_path: Path) -> None:
    train(f"--train-iters 2 --save {tmp_path}")
    path = archive(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:-1000])
    ran = train(f"--train-iters 3 --load {tmp_path}")
    assert ran.status == 1
    assert "cannot continue from" in ran.err


def test_contradicting_flags_end_with_status_2(train: Train) -> None:
    ran = train("--train-iters 1 --global-batch-size 7")
    assert ran.status == 2
    assert "--global-batch-size 7" in ran.err


def test_a_cooldown_starts_from_a_linked_checkpoint_and_leaves_it_alone(train: Train, tmp_path: Path) -> None:
    parent, own = tmp_path / "parent", tmp_path / "own"
    course = "--lr-decay-style WSD --lr-wsd-decay-style linear --min-lr 1e-3"
    train(f"--train-iters 12 {course} --lr-wsd-decay-iters 1 --save {parent} --save-interval 4")
    before = archive(parent, 8).read_bytes()
    branch(parent, own, 8)
    cooldown = f"{course} --train-iters 11 --lr-decay-iters 11 --lr-wsd-decay-iters 3 --save {own} --load {own}"

    refused = train(cooldown)
    assert refused.status == 1
    assert "lr_decay_steps is 96 there, but 88 on the command line" in refused.err
    assert "--override-opt_param-scheduler" in refused.err

    ran = train(f"{cooldown} --override-opt_param-scheduler --exit-on-missing-checkpoint")
    rates = re.findall(r"learning rate: (\S+)", ran.out)
    assert f"loading checkpoint from {own} at iteration 8" in ran.out
    assert ran.iterations == [9, 10, 11]
    assert rates == ["7.000000E-03", "4.000000E-03", "1.000000E-03"]
    assert re.findall(r"consumed samples: +(\d+)", ran.out) == ["72", "80", "88"]
    assert archive(parent, 8).read_bytes() == before
    assert (own / "iter_0000008").is_symlink()
    assert (own / TRACKER).read_text() == "11"


def test_a_diverged_run_gives_up_and_keeps_its_checkpoints_whole(train: Train, tmp_path: Path) -> None:
    ran = train(f"--train-iters 50 --lr 1e30 --save {tmp_path} --save-interval 1")
    assert ran.status == 1
    assert "training diverged before iteration 4" in ran.err
    assert DONE not in ran.out
    counts = re.findall(r"skipped iterations: +(\d+) \| number of nan iterations: +(\d+) ", ran.out)
    assert counts == [("0", "0"), ("1", "1"), ("1", "1"), ("1", "1")]
    assert len(ran.losses) == 1
    for path in tmp_path.glob("iter_*"):
        weights = read(tmp_path, int(path.name[5:]))["model"].values()
        assert all(weight is None or bool(weight.isfinite().all()) for weight in weights)


def test_a_checkpoint_of_another_model_is_refused(train: Train, tmp_path: Path) -> None:
    train(f"--train-iters 2 --save {tmp_path}")
    ran = train(f"--train-iters 4 --load {tmp_path} --num-layers 3 --override-opt_param-scheduler")
    assert ran.status == 1
    assert "num_layers is 2 there, but 3 on the command line" in ran.err


def test_a_checkpoint_that_is_no_training_is_refused(train: Train, tmp_path: Path) -> None:
    write(tmp_path, 2, {"iteration": 2})
    ran = train(f"--train-iters 4 --load {tmp_path}")
    assert ran.status == 1
    assert "it is not one of this trainer's" in ran.err


def test_brain_floats_train_about_as_well(train: Train) -> None:
    low, full = train("--train-iters 5 --bf16"), train("--train-iters 5")
    assert low.losses != full.losses
    for left, right in zip(low.losses, full.losses, strict=True):
        assert float(left) == pytest.approx(float(right), rel=0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_ends_without_the_done_line(
    start: Start, ended: Ended, train: Train, tmp_path: Path, number: signal.Signals
) -> None:
    flags = f"--train-iters 100000 --save {tmp_path} --load {tmp_path} --lr-decay-style constant"
    process = start(flags)
    until(process, "iteration        5/")
    process.send_signal(number)
    ran = ended(process)

    assert ran.status == 0
    assert ran.err == ""
    assert DONE not in ran.out
    *_, saving, saved, exiting = ran.out.splitlines()
    assert "saving checkpoint at iteration" in saving
    assert "successfully saved checkpoint from iteration" in saved
    assert exiting.startswith(EXITING)
    at = int((tmp_path / TRACKER).read_text())
    assert train(f"{flags} --train-iters {at + 2} --override-opt_param-scheduler").iterations == [
        at + 1,
        at + 2,
    ]


def test_a_kill_costs_no_more_than_the_iterations_since_the_last_checkpoint(
    start: Start, ended: Ended, train: Train, tmp_path: Path
) -> None:
    flags = f"--save {tmp_path} --load {tmp_path} --save-interval 2 --lr-decay-style constant"
    process = start(f"--train-iters 100000 {flags}")
    until(process, "iteration       20/")
    process.kill()
    assert ended(process).status == -signal.SIGKILL
    at = int((tmp_path / TRACKER).read_text())
    assert at >= 18
    ran = train(f"--train-iters {at + 1} {flags} --override-opt_param-scheduler")
    assert ran.iterations == [at + 1]


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="one GPU takes no two ranks")
def test_two_sharded_processes_train_like_one(start: Start, ended: Ended, train: Train, tmp_path: Path) -> None:
    layered = f"--hidden-size 256 --ffn-hidden-size {2 * sharding.WORTH_A_GATHER // 768}"
    course = f"{layered} --lr 1e-3 --lr-decay-style constant --train-iters 6 --eval-iters 2"
    one = train(f"{course} --save {tmp_path}/one")
    two = ended(start(f"{course} --save {tmp_path}/two", ranks=2))
    assert two.status == 0, two.err
    assert len(two.losses) == 6
    for left, right in zip(one.losses, two.losses, strict=True):
        assert float(left) == pytest.approx(float(right), rel=1e-5)
    assert two.out.count("validation loss") == two.out.count(DONE) == 1
    weights = [read(tmp_path / name, 6)["model"] for name in ("one", "two")]
    for name, weight in weights[0].items():
        if weight is not None:
            torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="one GPU takes no two ranks")
def test_a_signal_to_all_of_torchrun_saves_once_and_a_single_process_goes_on(
    start: Start, ended: Ended, train: Train, tmp_path: Path
) -> None:
    flags = f"--save {tmp_path} --load {tmp_path} --lr-decay-style constant --override-opt_param-scheduler"
    process = start(f"--train-iters 100000 {flags}", ranks=2)
    seen = until(process, "iteration        5/")
    os.killpg(process.pid, signal.SIGTERM)
    ran = ended(process)

    at = int((tmp_path / TRACKER).read_text())
    assert ran.out.count("successfully saved checkpoint") == 1
    assert EXITING in ran.out
    assert DONE not in ran.out
    # the workers' part is done; torchrun itself reports the signal as a failure
    assert ran.status == 1
    on = train(f"--train-iters {at + 1} {flags}")
    assert on.iterations == [at + 1]
    assert float(on.losses[0]) < float(seen.split("lm loss: ")[1].split(" |")[0])
