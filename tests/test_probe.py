import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoexp import hosts, probe
from autoexp.endings import Exit, Said
from autoexp.model import Job, JobSpec, State
from autoexp.snapshot import Snapshot

Specs = Callable[..., JobSpec]
Save = Callable[..., Path]
CLAIMED = "one.1.0000"
REPORT = " iteration {0:8d}/      40 | lm loss: 2.5E+00 | number of nan iterations: 0 |\n"


class Scene:
    """A job's directory with an open attempt, looked at again and again."""

    def __init__(self, folder: Path, spec: JobSpec, **fields: Any) -> None:
        self.dir = folder
        self.attempt = folder / "attempts" / "001"
        self.attempt.mkdir(parents=True)
        self.job = Job(spec=spec, **{"state": State.RUNNING, "attempt": 1, "token": CLAIMED, **fields})
        self.seen: Snapshot | None = None

    def look(self, at: float, *, alive: bool | None = True, said: Said | None = None) -> Snapshot:
        self.seen = probe.look(self.job, self.dir, self.seen, at, alive=alive, said=said)
        return self.seen

    def write(self, name: str, data: object) -> None:
        (self.attempt / name).write_text(data if isinstance(data, str) else json.dumps(data))


@pytest.fixture
def scene(tmp_path: Path, make_spec: Specs) -> Scene:
    return Scene(tmp_path / "one", make_spec("one"))


@pytest.fixture
def training(tmp_path: Path, make_spec: Specs) -> Scene:
    return Scene(tmp_path / "one", make_spec("one", backend="megatron", output="checkpoints"))


# The attempt's own files


def test_an_attempt_without_files_shows_nothing(scene: Scene) -> None:
    assert scene.look(5.0) == Snapshot(at=5.0, attempt=1, alive=True, progress_at=5.0)


def test_an_attempt_whose_directory_is_gone_shows_nothing(scene: Scene) -> None:
    scene.attempt.rmdir()

    assert scene.look(5.0, alive=None) == Snapshot(at=5.0, attempt=1, progress_at=5.0)


def test_the_claim_says_who_runs_the_attempt(scene: Scene) -> None:
    scene.write(f"run.{CLAIMED}", "")
    assert scene.look(5.0).scheduler_id is None

    scene.write(f"run.{CLAIMED}", "4711\n")

    assert scene.look(6.0).scheduler_id == "4711"


def test_a_claim_with_another_token_is_another_attempts(scene: Scene) -> None:
    scene.write("run.one.1.ffff", "4711\n")

    assert scene.look(5.0).scheduler_id is None


def test_what_run_sh_wrote_is_seen(scene: Scene) -> None:
    scene.write("started.json", {"host": "node7", "boot_id": "x"})
    scene.write("gate.json", {"code": 0})
    scene.write("exit.json", {"token": CLAIMED, "code": 143, "signal": 15, "asked": "TERM"})

    seen = scene.look(5.0)

    assert (seen.host, seen.gate, seen.exit) == ("node7", {"code": 0}, Exit(code=143, signal=15, asked="TERM"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"code":"0"}', '{"signal":9}'])
def test_an_exit_file_that_says_nothing_is_no_ending(scene: Scene, text: str) -> None:
    scene.write("exit.json", text)

    assert scene.look(5.0).exit is None


def _exit(**fields: Any) -> dict[str, Any]:
    return {"token": CLAIMED, "code": 1, **fields}


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("exit.json", "", "it is no JSON: "),
        ("exit.json", "[" * 100_000, "it is no JSON: "),
        ("exit.json", "[]", "it is no JSON object"),
        ("exit.json", " " * (1 << 20) + "{}", "it is larger than 1 MiB"),
        ("exit.json", {"code": 1}, "its token is None"),
        ("exit.json", _exit(code=True), "its code is True"),
        ("exit.json", _exit(code=10**30), "it goes too deep, or has a number that nobody means"),
        ("exit.json", _exit(at=float("nan")), "it goes too deep, or has a number that nobody means"),
        ("exit.json", _exit(signal=[9]), "its signal is [9]"),
        ("exit.json", _exit(asked=15), "its asked is 15"),
        ("started.json", {"host": ["n1"]}, "its host is ['n1']"),
        ("started.json", {"pid": "1"}, "its pid is '1'"),
        ("started.json", {"gpus": 0}, "its gpus is 0"),
        (
            "gate.json",
            {"code": 0, "deep": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]},
            "it goes too deep, or has a number",
        ),
        ("gate.json", {"code": False}, "its code is False"),
        ("gate.json", {"code": 46, "suspects": "n1"}, "its suspects is 'n1'"),
        ("gate.json", {"code": 46, "cause": "\ud800"}, "it is no JSON: "),
        ("submission.json", {"at": 5}, "its at is 5"),
        (f"run.{CLAIMED}", "a\0b", r"'a\x00b' is no process and no job"),
        (f"run.{CLAIMED}", "--user=root", "'--user=root' is no process and no job"),
    ],
)
def test_a_file_of_another_shape_counts_for_nothing_and_says_why(scene: Scene, name: str, data: Any, why: str) -> None:
    scene.write(name, data)

    seen = scene.look(5.0)

    assert seen == Snapshot(at=5.0, attempt=1, alive=True, progress_at=5.0, odd=seen.odd)
    assert list(seen.odd) == [name]
    assert seen.odd[name].startswith(why)


def test_a_start_during_an_earlier_boot_of_this_host_is_noticed(scene: Scene) -> None:
    scene.write("started.json", {"host": hosts.hostname(), "boot_id": "an earlier one"})
    scene.write("exit.json", {"token": CLAIMED, "code": 0})

    seen = scene.look(5.0)

    assert seen.rebooted
    assert seen.exit == Exit(code=0, rebooted=True)


def test_another_hosts_boot_is_none_of_ours(scene: Scene) -> None:
    scene.write("started.json", {"host": "node7", "boot_id": "its own"})

    assert not scene.look(5.0).rebooted


def test_the_log_is_read_on_from_look_to_look(training: Scene) -> None:
    training.write("output.log", REPORT.format(1))
    first = training.look(5.0).log
    with (training.attempt / "output.log").open("a") as log:
        log.write(REPORT.format(2))

    second = training.look(6.0).log

    assert (first.iteration, second.iteration) == (1, 2)
    assert second.offset == 2 * first.offset


def test_a_log_that_cannot_be_read_is_an_error_and_no_silence(scene: Scene) -> None:
    (scene.attempt / "output.log").mkdir()

    with pytest.raises(IsADirectoryError):
        scene.look(5.0)


# Whether it lives


def test_when_an_attempt_was_first_missed_is_remembered_until_it_is_back(scene: Scene) -> None:
    gone = [scene.look(at, alive=alive).gone_since for at, alive in ((5.0, True), (6.0, False), (7.0, False))]
    back = [scene.look(at, alive=alive).gone_since for at, alive in ((8.0, None), (9.0, False))]

    assert gone == [None, 6.0, 6.0]
    assert back == [None, 9.0]


def test_an_attempt_that_said_how_it_ended_is_not_missed(scene: Scene) -> None:
    scene.write("exit.json", {"token": CLAIMED, "code": 0})

    assert scene.look(5.0, alive=False).gone_since is None


# Progress


def test_a_claim_begins_the_time_without_progress(scene: Scene) -> None:
    scene.look(5.0)
    scene.write(f"run.{CLAIMED}", "4711\n")

    assert [scene.look(at).progress_at for at in (6.0, 7.0)] == [6.0, 6.0]


def test_any_line_is_progress_where_the_log_tells_no_iterations(scene: Scene) -> None:
    scene.look(5.0)
    scene.write("output.log", "line\n")
    first = scene.look(6.0).progress_at
    with (scene.attempt / "output.log").open("a") as log:
        log.write("half a line")

    assert (first, scene.look(7.0).progress_at) == (6.0, 6.0)


def test_only_iterations_are_progress_where_the_log_tells_them(training: Scene) -> None:
    training.write("output.log", REPORT.format(1))
    training.look(5.0)
    training.write("output.log", REPORT.format(1) + "srun: error\n" * 9)
    still = training.look(6.0).progress_at
    training.write("output.log", REPORT.format(1) + "srun: error\n" * 9 + REPORT.format(2))

    assert (still, training.look(7.0).progress_at) == (5.0, 7.0)


def test_a_checkpoint_is_progress(training: Scene, save_checkpoint: Save) -> None:
    training.look(5.0)
    save_checkpoint(training.dir / "checkpoints", 10)

    assert training.look(6.0).progress_at == 6.0


def test_a_new_watcher_counts_from_the_logs_last_line(scene: Scene) -> None:
    """Otherwise whoever looks only now and then would never see a stall."""
    scene.write("output.log", "line\n")
    os.utime(scene.attempt / "output.log", (100.0, 100.0))

    assert scene.look(500.0).progress_at == 100.0


def test_what_its_scheduler_keeps_from_running_is_not_behind(scene: Scene) -> None:
    scene.write(f"run.{CLAIMED}", "4711\n")
    scene.look(5.0)
    kept = [scene.look(at, said=Said(waits=True)).progress_at for at in (6.0, 7.0)]

    assert (kept, scene.look(9.0, said=Said()).progress_at) == ([6.0, 7.0], 7.0)


def test_a_new_watcher_hears_first_that_it_was_kept_from_running(scene: Scene) -> None:
    scene.write("output.log", "line\n")
    os.utime(scene.attempt / "output.log", (100.0, 100.0))

    unasked, waits = scene.look(500.0, said=Said()), scene.look(501.0, said=Said(waits=True, at=500.5))
    assert (unasked.heard_at, waits.heard_at, waits.progress_at) == (None, 500.5, 501.0)
    assert scene.look(502.0).heard_at == math.inf


def test_a_log_from_the_future_is_no_progress_to_come(scene: Scene) -> None:
    scene.write("output.log", "line\n")
    os.utime(scene.attempt / "output.log", (900.0, 900.0))

    assert scene.look(500.0).progress_at == 500.0


# Checkpoints


def test_a_whole_checkpoint_that_the_tracker_names_counts_at_once(training: Scene, save_checkpoint: Save) -> None:
    save_checkpoint(training.dir / "checkpoints", 10)

    seen = training.look(5.0)

    assert (seen.own, seen.tracker, seen.unsettled) == ((10,), 10, {})


def test_half_a_checkpoint_does_not_count_whatever_the_tracker_says(training: Scene, save_checkpoint: Save) -> None:
    save_checkpoint(training.dir / "checkpoints", 10, whole=False)

    assert training.look(5.0).own == ()


def test_a_whole_checkpoint_ahead_of_the_tracker_counts_after_a_quiet_while(
    training: Scene, save_checkpoint: Save
) -> None:
    save_checkpoint(training.dir / "checkpoints", 10, tracker=False)

    looks = [training.look(at) for at in (5.0, 6.0, 5.0 + probe.SETTLING_S)]

    assert [seen.own for seen in looks] == [(), (), (10,)]
    assert [dict(seen.unsettled) for seen in looks] == [{10: 5.0}, {10: 5.0}, {}]


def test_what_an_ended_attempt_left_is_as_whole_as_it_gets(training: Scene, save_checkpoint: Save) -> None:
    save_checkpoint(training.dir / "checkpoints", 10, tracker=False)
    training.write("exit.json", {"token": CLAIMED, "code": 0})

    assert training.look(5.0).own == (10,)


def test_a_linked_checkpoint_is_its_parents(training: Scene, save_checkpoint: Save, tmp_path: Path) -> None:
    theirs = save_checkpoint(tmp_path / "theirs", 10)
    folder = training.dir / "checkpoints"
    folder.mkdir()
    (folder / "iter_0000010").symlink_to(theirs)
    save_checkpoint(folder, 20)

    seen = training.look(5.0)

    assert (seen.own, seen.linked) == ((20,), (10,))


def test_what_counted_once_is_not_judged_again(training: Scene, save_checkpoint: Save) -> None:
    training.job = Job(spec=training.job.spec, state=State.RUNNING, attempt=1, token=CLAIMED, checkpoints=(10,))
    save_checkpoint(training.dir / "checkpoints", 10, whole=False)

    assert training.look(5.0).own == (10,)


def test_a_job_that_saves_no_checkpoints_is_not_searched_for_any(scene: Scene, save_checkpoint: Save) -> None:
    save_checkpoint(scene.dir / "checkpoints", 10)

    seen = scene.look(5.0)

    assert (seen.own, seen.tracker) == ((), None)


@pytest.mark.parametrize("tracker", ["", "release", "x"])
def test_a_tracker_that_names_no_iteration_only_costs_the_quiet_while(
    training: Scene, save_checkpoint: Save, tracker: str
) -> None:
    save_checkpoint(training.dir / "checkpoints", 10)
    (training.dir / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(tracker)

    looks = [training.look(at) for at in (5.0, 5.0 + probe.SETTLING_S)]

    assert [(seen.own, seen.tracker) for seen in looks] == [((), None), ((10,), None)]
