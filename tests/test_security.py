"""Recipes, markers and checkpoints come from disks that other people can write to; secrets stay where they are."""

import ast
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.errors import AutoexpError
from autoexp.recipes import load

if TYPE_CHECKING:
    from tests.conftest import Room

TOP = Path(__file__).parent.parent
CANARY = "sk-canary-7b1f"
NASTY = ("'; touch pwned; '", "$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "a\nb & touch pwned")
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}


def calls(source: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_runs_what_it_reads() -> None:
    found: dict[str, set[str]] = {}
    for source in [*TOP.glob("autoexp/**/*.py"), *TOP.glob("hooks/*.py")]:
        name = str(source.relative_to(TOP))
        bad = {called for called, _ in calls(source)} & FORBIDDEN
        shells = {"shell=True" for _, call in calls(source) for word in call.keywords if word.arg == "shell"}
        loads = [call for called, call in calls(source) if called == "torch.load"]
        assert all(any(w.arg == "weights_only" and ast.unparse(w.value) == "True" for w in c.keywords) for c in loads)
        found |= {name: bad | shells} if bad | shells else {}

    assert found == {}


def test_a_recipe_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("study: x\nparams: {a: !!python/object/apply:os.system ['touch pwned']}\n")

    with pytest.raises(AutoexpError):
        load(tmp_path / "r.yaml")

    assert not Path("pwned").exists()


def test_values_reach_programs_as_they_are(room: "Room") -> None:
    shown = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['VALUE']]))\n"
    show = f"{sys.executable} {room.write('show.py', shown)}"
    for number, value in enumerate(NASTY):
        room.write(
            f"s{number}.yaml",
            f"study: s{number}\nmachine: bench\nparams: {{value: {json.dumps(value)}}}\nstages:\n"
            f"  list: {{env: {{VALUE: '${{value}}'}}, command: [{show.replace(' ', ', ')}, '${{value}}']}}\n"
            f"  text: {{env: {{VALUE: '${{value}}'}}, command: '{show} ${{value}}'}}\n",
        )
        planned = room.run("plan", f"s{number}.yaml", "--root", room.root)
        assert planned.returncode == 0, planned.stderr

    assert room.run("watch", room.root, "--until-done").returncode == 0

    for number, value in enumerate(NASTY):
        for job in ("list", "text"):
            log = room.attempt_dir(job, study=f"s{number}") / "output.log"
            assert json.loads(log.read_text()) == [[value], value]
    assert not list(room.home.rglob("pwned"))


def test_a_secret_of_the_watchers_reaches_neither_jobs_nor_files(room: "Room") -> None:
    room.variables = {"WANDB_API_KEY": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY}
    room.plan("one: {command: env}\nbad: {command: 'exit 3'}\n")

    room.run("watch", room.root, "--until-done", "-v")

    assert "AUTOEXP_TOKEN" in (room.attempt_dir("one") / "output.log").read_text()
    written = [path for folder in (room.root, room.var) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


def test_a_secret_that_the_machine_file_passes_on_reaches_jobs_and_no_file_of_ours(room: "Room") -> None:
    room.machine(environment="[WANDB_API_KEY]")
    room.variables = {"WANDB_API_KEY": CANARY}
    room.plan("one: {command: 'test \\${#WANDB_API_KEY} = 14'}\n")

    assert room.run("watch", room.root, "--until-done").returncode == 0

    ours = [path for folder in (room.root, room.var) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in ours if CANARY.encode() in path.read_bytes()] == []


def test_what_planning_and_watching_write_follows_the_umask_and_var_is_private(room: "Room") -> None:
    room.write("demo.yaml", "study: demo\nmachine: bench\nstages:\n  one: {command: 'true'}\n")
    room.run("plan", "demo.yaml", "--root", room.root, umask=0o027)
    room.run("watch", room.root, "--until-done", umask=0o027)

    modes = {
        path: stat.S_IMODE(path.lstat().st_mode) for path in (room.root / "demo").rglob("*") if not path.is_symlink()
    }
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o750"}
    assert {oct(mode) for path, mode in modes.items() if path.is_file()} == {"0o640"}
    assert stat.S_IMODE(room.var.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../out", "/etc/passwd", "..", ".hidden", "a/b", "\u202e"])
def test_no_name_in_a_recipe_leads_out_of_the_root(room: "Room", name: str) -> None:
    for text in (
        f"study: {json.dumps(name)}\nstages: {{one: {{command: 'true'}}}}\n",
        f"study: demo\nstages: {{{json.dumps(name)}: {{command: 'true'}}}}\n",
        f"study: demo\nsweep: {{params: {{x: [{json.dumps(name)}]}}}}\nstages: {{one: {{command: 'true'}}}}\n",
    ):
        room.write("r.yaml", text)
        room.run("plan", "r.yaml", "--root", room.root, "--machine", "bench")

    made = {path.relative_to(room.home).parts[0] for path in room.home.rglob("*")}
    assert made <= {"r.yaml", "machines", "experiments"}
    assert {path.name for path in room.root.iterdir()} <= {"demo"}
