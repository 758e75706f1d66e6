"""The programs write what the product reads: it judges their checkpoints, and reads their logs."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from autoexp import backends, checkpoints
from autoexp.logs import LogFacts
from autoexp.model import JobSpec
from autoexp.orders import Order
from autoexp.simulation.disk import Disk
from autoexp.simulation.programs import program_of
from autoexp.simulation.timeline import Timeline
from autoexp.tail import read_on

MEGATRON = JobSpec(
    id="one", study="demo", stage="one", backend="megatron", args={"train-iters": 200, "save-interval": 100}
)


def play(spec: JobSpec, order: Order, chance: Random) -> float:
    """Run a program to its end; return how long it took."""
    timeline = Timeline(0.0)
    disk = Disk(timeline, lambda _: None, 1.0)
    for wait_s in program_of(spec, order, disk, chance):
        timeline.advance(timeline.now + wait_s)
    timeline.advance(timeline.now + 60)
    return timeline.now


def test_a_training_leaves_whole_checkpoints_a_tracker_and_a_log_that_say_so(
    tmp_path: Path, make_order: Callable[..., Order], chance: Random
) -> None:
    order = make_order()

    assert play(MEGATRON, order, chance) > 200 * 1000

    folder = tmp_path / "checkpoints"
    found = {number: checkpoints.judge(path).complete for number, path in checkpoints.iterations(folder).items()}
    log = read_on(order.attempt_dir / "output.log", LogFacts(), backends.find("megatron"))
    assert found == {100: True, 200: True}
    assert checkpoints.read_tracker(folder) == 200
    assert (log.iteration, log.train_iters, log.done, log.saves, log.diverged) == (200, 200, True, (100, 200), False)


def test_a_training_goes_on_from_its_newest_checkpoint(make_order: Callable[..., Order], chance: Random) -> None:
    whole = play(MEGATRON, make_order(), chance)
    tracker = make_order().job_dir / "checkpoints" / checkpoints.TRACKER
    tracker.write_text("100\n")

    assert play(MEGATRON, make_order(2), chance) < 0.7 * whole
    log = read_on(make_order(2).attempt_dir / "output.log", LogFacts(), backends.find("megatron"))
    assert (log.loaded, log.saves) == (100, (200,))


def test_a_save_is_torn_for_a_while(tmp_path: Path, make_order: Callable[..., Order], chance: Random) -> None:
    timeline, seen = Timeline(0.0), set[tuple[bool, bool]]()
    disk = Disk(timeline, lambda _: None, 1.0)
    folder = tmp_path / "checkpoints"
    for wait_s in program_of(MEGATRON, make_order(), disk, chance):
        until = timeline.now + wait_s
        while timeline.now < until:
            timeline.step(until)
            if (path := folder / checkpoints.folder_name(100)).exists():
                seen.add((checkpoints.judge(path).complete, checkpoints.read_tracker(folder) is not None))

    assert seen >= {(False, False), (True, False), (True, True)}


def test_any_other_program_takes_a_while_and_says_that_it_is_done(
    make_order: Callable[..., Order], chance: Random
) -> None:
    order = make_order()

    assert play(JobSpec(id="one", study="demo", stage="one"), order, chance) > 600
    assert (order.attempt_dir / "output.log").read_text() == "done\n"
