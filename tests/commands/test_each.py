from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room


@pytest.fixture
def planned(room: "Room") -> "Room":
    room.plan("train: {sweep: {params: {lr: [1, 2]}}, command: [echo, '${lr}']}\nother: {command: 'true'}\n")
    return room


def test_a_command_is_run_for_each_job_with_its_values(planned: "Room") -> None:
    done = planned.run(
        "each", planned.root / "demo", "--where", 'stage == "train"', "--", "echo", "{job.id} {lr}", "{job.dir}"
    )

    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        line
        for lr in (1, 2)
        for folder in [planned.root / "demo" / "jobs" / f"train-lr{lr}"]
        for line in (f"# train-lr{lr}: echo 'train-lr{lr} {lr}' {folder}", f"train-lr{lr} {lr} {folder}")
    ]


def test_one_job_may_be_named(planned: "Room") -> None:
    assert planned.run("each", "demo/other", "--", "echo", "{job.state}").stdout.splitlines()[1:] == ["waiting"]


def test_other_braces_are_let_alone_and_no_shell_sees_the_words(planned: "Room") -> None:
    done = planned.run("each", "demo/other", "--", "echo", "${HOME} {} {1} {a b}", "; false")

    assert done.stdout.splitlines()[1:] == ["${HOME} {} {1} {a b} ; false"]


def test_the_others_go_on_when_one_fails(planned: "Room") -> None:
    done = planned.run("each", "demo", "--", "sh", "-c", "echo ran; test {job.id} != train-lr1")

    assert (done.returncode, done.stdout.count("ran\n")) == (1, 3)


def test_nothing_is_run_if_a_name_is_unknown(planned: "Room") -> None:
    done = planned.run("each", "demo", "--", "echo", "{lr}")

    assert (done.returncode, done.stdout) == (1, "")
    assert "other has no lr" in done.stderr


def test_a_program_that_is_not_there_is_told(planned: "Room") -> None:
    done = planned.run("each", "demo/other", "--", "no-such-program | head")

    assert done.returncode == 1
    assert "no-such-program | head cannot be run" in done.stderr
    assert "sh -c" in done.stderr
