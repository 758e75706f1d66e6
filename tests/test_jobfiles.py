import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from autoexp.codec import encode
from autoexp.jobfiles import flow, job_yaml, run_script
from autoexp.logs import BEGINS_AGAIN
from autoexp.model import JobSpec, Resources, Run
from autoexp.world import job_dir

SPEC = JobSpec(id="train-lr0.1", study="demo", stage="train", argv=("true",))
PRINT = (sys.executable, "-c", "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))")


def prepare(root: Path, spec: JobSpec, attempt: int = 1, prefix: str = "") -> Path:
    """Put a job's run.sh where an executor would start it."""
    folder = Path(job_dir(str(root), spec.study, spec.id))
    (folder / f"attempts/{attempt:03d}").mkdir(parents=True, exist_ok=True)
    (folder / "run.sh").write_text(run_script(spec, str(root), prefix), encoding="utf-8")
    return folder


def start(folder: Path, *, token: str = "", attempt: int = 1, **env: str) -> "subprocess.Popen[str]":
    named = {"AUTOEXP_TOKEN": token, "AUTOEXP_ATTEMPT": str(attempt)} if token else {}
    base = {"PATH": os.environ["PATH"], "HOME": "/"}
    return subprocess.Popen(
        ["bash", str(folder / "run.sh")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**base, **named, **env},
        encoding="utf-8",
        start_new_session=True,
    )


def run(folder: Path, **how: Any) -> tuple[int, str, str]:
    child = start(folder, **how)
    out, err = child.communicate(timeout=30)
    return child.returncode, out, err


def said(folder: Path, name: str, attempt: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"attempts/{attempt:03d}" / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("last", "code"), [("true", 0), ("false", 1)])
def test_a_setup_may_go_elsewhere(tmp_path: Path, last: str, code: int) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=PRINT))
    script = run_script(replace(SPEC, argv=PRINT), str(tmp_path), setup=f"cd /\n{last}")
    (folder / "run.sh").write_text(script, encoding="utf-8")

    ended, out, _ = run(folder, token="t")

    assert (ended, said(folder, "exit.json")["code"]) == (code, code)
    assert code or json.loads(out)[2] == str(folder)


def test_a_directory_that_moves_while_the_program_runs_takes_its_end_with_it(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "touch ready; until test -e go; do sleep 0.02; done")))
    child = start(folder, token="t")
    wait_for(folder / "ready")
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "go").touch()

    child.communicate(timeout=30)
    assert said(moved, "exit.json")["code"] == 0


def test_a_folder_where_the_exit_file_belongs_gives_way(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("mkdir", "attempts/001/exit.json")))

    assert run(folder, token="t")[0] == 0
    assert said(folder, "exit.json")["code"] == 0


def test_a_setup_may_hold_a_here_document(tmp_path: Path) -> None:
    spec = replace(SPEC, argv=("cat", "made"))
    folder = prepare(tmp_path, spec)
    setup = "cat > made <<'END'\n  two words\nEND\n"
    (folder / "run.sh").write_text(run_script(spec, str(tmp_path), setup=setup), encoding="utf-8")

    ended, out, err = run(folder, token="t")

    assert (ended, out, err) == (0, "  two words\n", "")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def wait_for_text(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (text := path.read_text()).endswith("\n"):
        assert time.monotonic() < deadline, f"{path} says nothing"
        time.sleep(0.01)
    return text


# run.sh, by hand


def test_by_hand_it_runs_the_command_in_the_job_s_directory_and_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = replace(
        SPEC, argv=(*PRINT, "a b"), env={"WHO": "it's me"}, resources=Resources(cpus=8, processes_per_node=2)
    )
    folder = prepare(tmp_path, spec)

    code, out, _ = run(folder)
    arguments, environment, where = json.loads(out)

    assert (code, arguments, where) == (0, ["a b"], str(folder))
    assert {name: value for name, value in environment.items() if name.startswith(("AUTOEXP", "WHO", "OMP"))} == {
        "AUTOEXP_ROOT": str(tmp_path),
        "AUTOEXP_DIR": str(folder),
        "AUTOEXP_STUDY": "demo",
        "AUTOEXP_JOB": "train-lr0.1",
        "AUTOEXP_ATTEMPT": "0",
        "OMP_NUM_THREADS": "4",
        "WHO": "it's me",
    }
    assert list((folder / "attempts/001").iterdir()) == []


def test_the_interpreter_s_folder_stands_first_on_the_path(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=PRINT), prefix="/opt/it's bin")

    environment = json.loads(run(folder)[1])[1]

    assert environment["PATH"] == f"/opt/it's bin:{os.environ['PATH']}"


def test_what_is_set_already_stands(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=PRINT))

    environment = json.loads(run(folder, OMP_NUM_THREADS="3")[1])[1]

    assert environment["OMP_NUM_THREADS"] == "3"


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10) | st.lists(
    st.sampled_from(["'", '"', "$(echo x)", "`x`", "\\", "\n", "$HOME", "%s", "${X}", "*", "#", "}", "EOF", " "]),
    max_size=5,
).map("".join)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(WORDS, max_size=3), value=WORDS, root=st.sampled_from(["r", "it's a root", 'a"b$HOME`x`', "a\nb"])
)
def test_the_program_receives_every_word_unchanged(tmp_path: Path, words: Sequence[str], value: str, root: str) -> None:
    folder = prepare(tmp_path / root, replace(SPEC, argv=(*PRINT, *words), env={"VALUE": value}))

    code, out, err = run(folder)
    arguments, environment, where = json.loads(out or "[0, {}, 0]")

    assert (code, err) == (0, "")
    assert (arguments, environment["VALUE"], where) == (list(words), value, str(folder))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    argv=st.lists(WORDS, min_size=1, max_size=3),
    gate=st.lists(WORDS, max_size=2),
    env=st.dictionaries(st.just("A"), WORDS),
)
def test_bash_finds_no_fault_in_it(tmp_path: Path, argv: list[str], gate: list[str], env: dict[str, str]) -> None:
    path = tmp_path / "run.sh"
    path.write_text(run_script(replace(SPEC, argv=tuple(argv), gate=tuple(gate), env=env), "/r"), encoding="utf-8")

    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")


# run.sh, started by an executor


def test_started_by_an_executor_it_claims_its_attempt_and_says_how_it_began_and_ended(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("echo", "hello")))

    child = start(folder, token="t.1.k")
    out, err = child.communicate(timeout=30)

    assert (child.returncode, out, err) == (0, "hello\n", "")
    assert (folder / "attempts/001/run.t.1.k").read_text() == f"{child.pid}\n"
    begun, exited = said(folder, "started.json"), said(folder, "exit.json")
    assert (begun["v"], begun["token"], begun["id"], begun["pid"]) == (1, "t.1.k", str(child.pid), child.pid)
    assert begun["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (exited["v"], exited["token"], exited["code"], exited["signal"], exited["asked"]) == (1, "t.1.k", 0, 0, "")
    assert begun["at"] <= exited["at"] <= time.time() + 1
    assert sorted(path.name for path in (folder / "attempts/001").iterdir()) == [
        "exit.json",
        "run.t.1.k",
        "started.json",
    ]


@pytest.mark.parametrize(
    ("argv", "code", "number"),
    [
        pytest.param(("bash", "-c", "exit 3"), 3, 0, id="its own code"),
        pytest.param(("no-such-program-here",), 127, 0, id="no such program"),
        pytest.param(("bash", "-c", "kill -KILL $$"), 137, 9, id="killed"),
        pytest.param(("bash", "-c", "kill -SEGV $$"), 139, 11, id="crashed"),
    ],
)
def test_an_ending_is_written_whatever_it_is(tmp_path: Path, argv: tuple[str, ...], code: int, number: int) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=argv))

    assert run(folder, token="t")[0] == code
    exited = said(folder, "exit.json")
    assert (exited["code"], exited["signal"]) == (code, number)


def test_a_second_start_of_the_same_attempt_exits_quietly_and_runs_nothing(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran")))

    assert run(folder, token="t") == (0, "", "")
    first = said(folder, "exit.json")
    assert run(folder, token="t") == (0, "", "")

    assert (folder / "ran").read_text() == "ran\n"
    assert said(folder, "exit.json") == first


def test_of_many_starts_at_once_one_runs(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran; sleep 0.2")))

    children = [start(folder, token="t") for _ in range(6)]
    assert [child.communicate(timeout=30) for child in children] == [("", "")] * 6

    assert (folder / "ran").read_text() == "ran\n"


def test_a_requeue_of_the_same_scheduler_id_may_claim_again(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran")))

    run(folder, token="t", SLURM_JOB_ID="77")
    (folder / "attempts/001/exit.json").unlink()  # its node failed before it could say anything
    run(folder, token="t", SLURM_JOB_ID="78", SLURM_RESTART_COUNT="1")
    _, output, *_ = run(folder, token="t", SLURM_JOB_ID="77", SLURM_RESTART_COUNT="1")

    assert output.startswith(f"\n{BEGINS_AGAIN}\n")
    assert (folder / "ran").read_text() == "ran\nran\n"
    assert (folder / "attempts/001/run.t").read_text() == "77\n"


def test_a_requeue_of_an_attempt_that_said_how_it_ended_runs_nothing(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran; exit 3")))

    run(folder, token="t", SLURM_JOB_ID="77")
    code, *_ = run(folder, token="t", SLURM_JOB_ID="77", SLURM_RESTART_COUNT="1")

    assert (code, (folder / "ran").read_text()) == (0, "ran\n")
    assert said(folder, "exit.json")["code"] == 3


@pytest.mark.parametrize(
    ("before", "runs"),
    [
        (None, False),
        ({"code": 143, "signal": 15, "asked": "USR2"}, True),
        ({"code": 143, "signal": 15, "asked": "TERM"}, False),
        ({"code": 0, "signal": 0, "asked": ""}, False),
        ({"code": 1, "signal": 0, "asked": ""}, False),
    ],
    ids=[
        "it vanished, and nobody knows how",
        "ahead of its time limit",
        "it was asked to end, and nobody knows by whom",
        "it did its work",
        "it failed",
    ],
)
def test_an_attempt_queued_behind_another_runs_only_where_that_was_cut_short(
    tmp_path: Path, before: dict[str, object] | None, *, runs: bool
) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran")), attempt=2)
    (folder / "attempts" / "001").mkdir(exist_ok=True)
    if before is not None:
        (folder / "attempts" / "001" / "exit.json").write_text(json.dumps(before, separators=(",", ":")))

    code, *_ = run(folder, token="t", attempt=2, AUTOEXP_AFTER="1", PATH=clients(tmp_path, sleep="true"))

    assert code == 0
    assert (folder / "ran").exists() is runs
    assert (folder / "attempts" / "002" / "run.t").exists() is runs


def clients(tmp_path: Path, **scripts: str) -> str:
    """Put programs before others, for a PATH."""
    folder = tmp_path / "clients"
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("state", "asked", "runs"),
    [
        ("RUNNING", "TERM", False),
        ("FAILED", "TERM", False),
        ("TIMEOUT", None, True),
        ("NODE_FAIL", None, True),
        ("PREEMPTED", "TERM", True),
        ("FAILED", "USR2", True),
        ("CANCELLED", "USR2", True),
        ("CANCELLED", "TERM", False),
        ("CANCELLED", None, False),
        ("OUT_OF_MEMORY", None, False),
        ("FAILED", None, False),
        *((alive, None, False) for alive in ("RUNNING", "PENDING", "SUSPENDED", "REQUEUED", "COMPLETING")),
        ("LAUNCH_FAILED", None, False),
    ],
)
@pytest.mark.parametrize("who", ["it knows", "it forgot"])
def test_an_attempt_queued_behind_one_that_left_no_word_asks_slurm_how_it_ended(
    tmp_path: Path, state: str, asked: str | None, who: str, *, runs: bool
) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran")), attempt=2)
    before = folder / "attempts" / "001"
    before.mkdir(exist_ok=True)
    (before / "run.one-lr0.5.1.k3y").write_text("77\n")
    (before / "run.sh").write_text("#!/usr/bin/env bash\n")
    if asked:
        (before / "exit.json").write_text(json.dumps({"code": 143, "asked": asked}, separators=(",", ":")))
    told = f'[[ "$*" == "--oneliner show job 77" ]] && echo "JobId=77 JobName=x JobState={state} Reason=None"'
    scontrol, sacct = {"it knows": (told, "false"), "it forgot": ("false", f"echo {state} by 1000")}[who]
    path = clients(tmp_path, scontrol=scontrol, sacct=sacct, sleep="true")

    code, *_ = run(folder, token="one-lr0.5.2.k3y", attempt=2, AUTOEXP_AFTER="1", PATH=path)

    assert code == 0
    assert (folder / "ran").exists() is runs


@pytest.mark.parametrize(("asked", "runs"), [("TERM", False), ("USR2", True), ("", False)])
def test_an_attempt_queued_behind_another_waits_for_its_last_word_where_slurm_has_none(
    tmp_path: Path, asked: str, *, runs: bool
) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "echo ran >> ran")), attempt=2)
    said = folder / "attempts" / "001" / "exit.json"
    said.parent.mkdir(exist_ok=True)
    text = json.dumps({"code": 143, "asked": asked}, separators=(",", ":"))
    path = clients(tmp_path, scontrol="false", sacct="false", sleep=f"echo '{text}' > {said}")

    run(folder, token="one-lr0.5.2.k3y", attempt=2, AUTOEXP_AFTER="1", PATH=path)

    assert (folder / "ran").exists() is runs


def queued_behind(tmp_path: Path, script: str = "echo ran >> ran", asked: str = "") -> Path:
    """Make a second attempt that is queued behind a first, which says by whom it was asked to end, if by anybody."""
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", script)), attempt=2)
    before = folder / "attempts" / "001"
    before.mkdir(exist_ok=True)
    (before / "run.one-lr0.5.1.k3y").write_text("77\n")
    if asked:
        (before / "exit.json").write_text(json.dumps({"code": 143, "asked": asked}, separators=(",", ":")))
    return folder


@pytest.mark.parametrize(("asked", "state"), [("", "NODE_FAIL"), ("TERM", "PREEMPTED")])
def test_an_attempt_queued_behind_another_asks_again_where_slurm_is_busy(
    tmp_path: Path, asked: str, state: str
) -> None:
    folder = queued_behind(tmp_path, asked=asked)
    busy = f'[[ $(wc -l < {tmp_path}/asked) -gt 2 ]] && echo "JobId=77 JobState={state} Reason=None"'
    waits = f"echo >> {tmp_path}/slept"
    path = clients(tmp_path, scontrol=f"echo >> {tmp_path}/asked; {busy}", sacct="false", sleep=waits)

    run(folder, token="one-lr0.5.2.k3y", attempt=2, AUTOEXP_AFTER="1", PATH=path)

    assert (folder / "ran").exists()
    assert (tmp_path / "asked").read_text().count("\n") == 3
    assert (tmp_path / "slept").read_text().count("\n") == 20


def test_an_attempt_queued_behind_another_whose_id_it_cannot_see_asks_about_no_other_job(tmp_path: Path) -> None:
    folder = queued_behind(tmp_path)
    (folder / "attempts" / "001" / "run.one-lr0.5.1.k3y").unlink()
    told = f"echo >> {tmp_path}/asked; echo JobId=1 JobState=NODE_FAIL"
    path = clients(tmp_path, scontrol=told, sacct=told, sleep="true")

    run(folder, token="one-lr0.5.2.k3y", attempt=2, AUTOEXP_AFTER="1", PATH=path)

    assert not (folder / "ran").exists()
    assert not (tmp_path / "asked").exists()


def test_an_attempt_that_slurm_queues_again_goes_on_whatever_is_still_known_of_the_one_before(tmp_path: Path) -> None:
    folder = queued_behind(tmp_path, "echo ran >> ran; kill -9 $PPID")
    known = f'[[ ! -e {tmp_path}/forgot ]] && echo "JobId=77 JobState=TIMEOUT Reason=None"'
    path = clients(tmp_path, scontrol=known, sacct="false", sleep="true")
    how = {"token": "one-lr0.5.2.k3y", "attempt": 2, "AUTOEXP_AFTER": "1", "PATH": path, "SLURM_JOB_ID": "78"}
    run(folder, **how)
    (tmp_path / "forgot").touch()

    run(folder, **how, SLURM_RESTART_COUNT="1")

    assert (folder / "ran").read_text() == "ran\nran\n"


def test_each_attempt_has_its_own_files(tmp_path: Path) -> None:
    folder = prepare(tmp_path, SPEC)
    prepare(tmp_path, SPEC, attempt=12)

    run(folder, token="one")
    run(folder, token="twelve", attempt=12)

    assert said(folder, "exit.json", 12)["token"] == "twelve"
    assert said(folder, "exit.json")["token"] == "one"


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_a_signal_is_passed_on_and_the_program_s_own_end_awaited(tmp_path: Path, name: str) -> None:
    patient = f"trap 'sleep 0.2; echo saved; exit 7' {name}; touch ready; while :; do sleep 0.05; done"
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", patient)))

    child = start(folder, token="t")
    wait_for(folder / "ready")
    os.kill(child.pid, getattr(signal, f"SIG{name}"))
    out, _ = child.communicate(timeout=30)

    assert (child.returncode, out) == (7, "saved\n")
    exited = said(folder, "exit.json")
    assert (exited["code"], exited["signal"], exited["asked"]) == (7, 0, name)


@pytest.mark.parametrize("name", ["TERM", "USR2"])
@pytest.mark.parametrize("kind", ["one", "batch", "gate"])
def test_a_signal_that_comes_before_run_sh_knows_its_program_is_passed_on(tmp_path: Path, kind: str, name: str) -> None:
    script = f"kill -{name} $PPID; exec sleep 30"
    at_once = ("bash", "-c", script)
    kinds = {"one": replace(SPEC, argv=at_once), "gate": replace(SPEC, gate=at_once), "batch": batch(script)}
    folder = prepare(tmp_path, kinds[kind])
    written = (folder / "run.sh").read_text()
    assert written.count("& begun") == (2 if kind == "gate" else 1)
    (folder / "run.sh").write_text(written.replace("& begun", "& sleep 0.5; begun"))

    began = time.monotonic()
    code, *_ = run(folder, token="t")

    assert code
    assert time.monotonic() - began < 20
    assert said(folder, "exit.json")["asked"] == name


def test_a_program_that_dies_of_the_signal_is_told_apart(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("bash", "-c", "touch ready; exec sleep 30")))

    child = start(folder, token="t")
    wait_for(folder / "ready")
    child.terminate()

    assert child.wait(timeout=30) == 143
    exited = said(folder, "exit.json")
    assert (exited["code"], exited["signal"], exited["asked"]) == (143, 15, "TERM")
    child.communicate()


@pytest.mark.parametrize(("code", "ran"), [(0, True), (46, False)])
def test_a_gate_that_fails_keeps_the_program_from_running(tmp_path: Path, *, code: int, ran: bool) -> None:
    gate = ("bash", "-c", f'echo "{{\\"code\\": {code}}}" > "$2"; exit {code}', "gate")
    folder = prepare(tmp_path, replace(SPEC, argv=("touch", "ran"), gate=gate))

    assert run(folder, token="t")[0] == code

    assert (folder / "ran").exists() is ran
    assert said(folder, "gate.json") == {"code": code}
    assert said(folder, "exit.json")["code"] == code


def test_by_hand_there_is_no_gate(tmp_path: Path) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("echo", "ran"), gate=("false",)))

    assert run(folder) == (0, "ran\n", "")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_how_it_ended_is_said_once_and_quietly_even_if_what_says_it_is_killed(tmp_path: Path, *, before: bool) -> None:
    folder = prepare(tmp_path, replace(SPEC, argv=("sh", "-c", "exit 3")))
    mv = tmp_path / "bin" / "mv"
    mv.parent.mkdir()
    do, die = '/bin/mv "$@"; echo >> "$0.done"', 'mkdir "$0.hit" && kill -9 $$'
    hit = f"{die}; {do}" if before else f"{do}; {die}"
    mv.write_text(f'#!/bin/sh\ncase "$*" in *exit.json*) {hit};; *) {do};; esac\n')
    mv.chmod(0o755)

    code, out, err = run(folder, token="t", PATH=f"{mv.parent}:{os.environ['PATH']}")

    assert (code, out, err) == (3, "", "")
    assert said(folder, "exit.json")["code"] == 3
    assert (tmp_path / "bin/mv.hit").exists()
    assert (tmp_path / "bin/mv.done").read_text() == "\n" * 2  # started.json and exit.json, each once


# run.sh, for a batch


def batch(*scripts: str, **fields: Any) -> JobSpec:
    """A job that runs one script for each of the iterations 10, 20, ..."""
    iterations = tuple(range(10, 10 * len(scripts) + 1, 10))
    runs = tuple(Run(argv=("bash", "-c", script)) for script in scripts)
    return replace(SPEC, **{"argv": (), "iterations": iterations, "runs": runs, **fields})


def done(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "done").glob("*"))}


def test_a_batch_runs_once_for_each_iteration_in_its_folder_and_ends_with_the_first_failure(tmp_path: Path) -> None:
    folder = prepare(tmp_path, batch("pwd", "exit 4", "exit 3", "echo last > made"))

    code, out, err = run(folder, token="t.1.k")

    assert (code, err, said(folder, "exit.json")["code"]) == (4, "", 4)
    assert out.splitlines() == [
        "autoexp: iteration 10 begins",
        f"{folder}/iter_0000010",
        "autoexp: iteration 10 ended with exit code 0",
        "autoexp: iteration 20 begins",
        "autoexp: iteration 20 ended with exit code 4",
        "autoexp: iteration 30 begins",
        "autoexp: iteration 30 ended with exit code 3",
        "autoexp: iteration 40 begins",
        "autoexp: iteration 40 ended with exit code 0",
        "autoexp: not done: iteration 20 30",
    ]
    assert (folder / "iter_0000040" / "made").read_text() == "last\n"
    assert done(folder) == {"iter_0000010": "1\n", "iter_0000040": "1\n"}


def test_the_next_attempt_of_a_batch_runs_what_is_not_done(tmp_path: Path) -> None:
    spec = batch("echo first >> ../ran", "echo second >> ../ran; test -e again || { touch again; exit 1; }")

    assert [run(prepare(tmp_path, spec, n), token=f"t.{n}.k", attempt=n)[0] for n in (1, 2)] == [1, 0]
    folder = prepare(tmp_path, spec, 2)

    assert (folder / "ran").read_text().split() == ["first", "second", "second"]
    assert done(folder) == {"iter_0000010": "1\n", "iter_0000020": "2\n"}


@pytest.mark.parametrize("how", ["to all of its group", "to run.sh alone", "to the program alone"])
def test_who_ends_a_batch_ends_what_runs_and_what_was_to_come(tmp_path: Path, how: str) -> None:
    folder = prepare(tmp_path, batch("true", "echo $$ > pid; exec sleep 60", "touch ../never"))
    child = start(folder, token="t.1.k")
    wait_for(folder / "iter_0000020" / "pid")
    wait_for(folder / "attempts/001/started.json")

    pid = int(wait_for_text(folder / "iter_0000020" / "pid"))
    if how == "to all of its group":
        os.killpg(child.pid, signal.SIGTERM)
    else:
        os.kill(child.pid if how == "to run.sh alone" else pid, signal.SIGTERM)
    out, _ = child.communicate(timeout=30)

    assert child.returncode == said(folder, "exit.json")["code"] == 143
    assert out.splitlines()[-2:] == [
        "autoexp: iteration 20 ended with exit code 143",
        "autoexp: not done: iteration 20 30",
    ]
    assert not (folder / "never").exists()
    assert done(folder).keys() == {"iter_0000010"}


def test_a_batch_whose_program_obeys_by_ending_well_has_not_done_what_was_to_come(tmp_path: Path) -> None:
    folder = prepare(tmp_path, batch("trap 'exit 0' TERM; touch begun; while :; do sleep 0.01; done", "touch ../never"))
    child = start(folder, token="t.1.k")
    wait_for(folder / "iter_0000010" / "begun")

    os.kill(child.pid, signal.SIGTERM)
    child.communicate(timeout=30)

    exited = said(folder, "exit.json")
    assert (exited["code"], exited["signal"], exited["asked"]) == (143, 15, "TERM")
    assert done(folder).keys() == {"iter_0000010"}
    assert not (folder / "never").exists()


def test_by_hand_a_batch_runs_everything_and_marks_nothing(tmp_path: Path) -> None:
    folder = prepare(tmp_path, batch("echo one", "exit 3", "echo three"))
    (folder / "done").mkdir()
    (folder / "done" / "iter_0000010").touch()

    code, out, _ = run(folder)

    assert (code, [word for word in out.split() if word in {"one", "three"}]) == (3, ["one", "three"])
    assert done(folder) == {"iter_0000010": ""}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=2), usual=WORDS, value=WORDS)
def test_each_program_of_a_batch_receives_its_own_words_unchanged(
    tmp_path: Path, words: list[str], usual: str, value: str
) -> None:
    runs = (Run(argv=(*PRINT, *words), env={"VALUE": value}), Run(argv=(*PRINT, value)))
    spec = replace(SPEC, argv=(), env={"VALUE": usual}, iterations=(10, 20), runs=runs)

    code, out, err = run(prepare(tmp_path, spec))
    first, second = (json.loads(line) for line in out.splitlines() if not line.startswith("autoexp: "))

    assert (code, err) == (0, "")
    assert (first[0], first[1]["VALUE"]) == (words, value)
    assert (second[0], second[1]["VALUE"]) == ([value], usual)


def test_job_yaml_says_what_a_batch_does_for_each_of_its_iterations() -> None:
    said = OmegaConf.create(job_yaml(batch("true", "false"), "/root"))

    assert said.iterations == [10, 20]
    assert said.runs == {
        "iter_0000010": {"argv": ["bash", "-c", "true"]},
        "iter_0000020": {"argv": ["bash", "-c", "false"]},
    }


# job.yaml

TEXTS = st.text(max_size=12) | st.text("ab'\"\\:#-{}[],&*!|>%@ \n\t\x7f\x85\u2028\ufeff😀é", max_size=12)
NAMES = TEXTS.filter(bool) | st.sampled_from(
    ["on", "Yes", "NO", "null", "True", "y", "-", "~", "1", "1e3", "a b", "num-layers"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)


def _parsed(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(text))


def _without_interpolation(value: Any) -> Any:
    """Take the sign out that OmegaConf would look behind."""
    return json.loads(json.dumps(value).replace("${", "$ {"))


@settings(max_examples=250)
@given(VALUES)
@example({"Yes": 1e16, "é": "😀\x7f\u2028", "x": [1e-05, -0.0, 1.0, float("inf")]})
def test_whatever_a_value_is_yaml_reads_it_back(value: Any) -> None:
    plain = _without_interpolation(value)
    text = flow(plain)

    assert text.isascii()
    assert "\n" not in text
    assert _parsed(f"value: {text}") == {"value": plain}


def test_a_value_that_is_no_number_is_written_as_yaml_knows_it() -> None:
    assert [flow(value) for value in (float("inf"), -float("inf"), float("nan"))] == [".inf", "-.inf", ".nan"]
    assert [flow(value) for value in (1e16, 1e-05, 2.0, 3)] == ["1.0e+16", "1.0e-05", "2.0", "3"]


def test_job_yaml_says_everything_a_job_was_planned_with() -> None:
    params: Mapping[str, Any] = {"lr": 1e-05, "name": "it's", "on": True, "list": [1, {"a": None}]}
    spec = replace(
        SPEC, params=params, args={"num-layers": 2, "no": False}, argv=("echo", "a b"), key="k3y", needs=("p",)
    )

    read = _parsed(job_yaml(spec, "/root"))

    assert read.pop("dir") == "/root/demo/jobs/train-lr0.1"
    assert read == {name: value for name, value in json.loads(json.dumps(encode(spec))).items() if name != "key"}
    assert read["params"] == params


def test_job_yaml_has_a_line_for_each_value() -> None:
    text = job_yaml(replace(SPEC, params={"lr": 0.1, "layers": 2}, argv=("a", "b")), "/r")

    assert text == (
        'id: "train-lr0.1"\n'
        'study: "demo"\n'
        'stage: "train"\n'
        "params:\n"
        "  lr: 0.1\n"
        "  layers: 2\n"
        'argv: ["a", "b"]\n'
        'dir: "/r/demo/jobs/train-lr0.1"\n'
    )
