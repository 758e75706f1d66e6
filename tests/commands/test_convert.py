import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conversion.megatron import Model, save_torch

if TYPE_CHECKING:
    from tests.conftest import Room


def test_the_result_is_told_as_json(room: "Room") -> None:
    source = save_torch(Model(), room.home / "iter_0000006")

    done = room.run("convert", source, room.home / "hf", "--json")

    said = json.loads(done.stdout)
    assert said.keys() == {
        "source", "target", "format", "architecture", "parameters", "seconds", "peak_rss_bytes", "verified",
    }  # fmt: skip
    assert (said["architecture"], said["format"], said["verified"]) == ("LlamaForCausalLM", "torch", False)
    assert (room.home / "hf" / "model.safetensors").is_file()


def test_verifying_computes_both_models(room: "Room") -> None:
    source = save_torch(Model(kind="gpt_neox"), room.home / "iter_0000006", tensor=2)

    done = room.run("convert", source, room.home / "hf", "--verify", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True


def test_a_dry_run_writes_nothing(room: "Room") -> None:
    source = save_torch(Model(), room.home / "iter_0000006")

    done = room.run("convert", source, room.home / "hf", "--dry-run")

    assert "model.layers.0.mlp.gate_proj.weight [40, 32] float32" in done.stdout
    assert not (room.home / "hf").exists()


def test_the_weights_files_are_as_large_as_is_asked_for(room: "Room") -> None:
    source = save_torch(Model(), room.home / "iter_0000006")

    done = room.run("convert", source, room.home / "hf", "--shard-size", "20kB")
    odd = room.run("convert", source, room.home / "hf", "--shard-size", "20")

    assert done.returncode == 0, done.stderr
    assert len(sizes := [file.stat().st_size for file in (room.home / "hf").glob("*.safetensors")]) > 1
    assert max(sizes) < 25_000
    assert (odd.returncode, "'20' is no size; write it with its unit" in odd.stderr) == (2, True)


def test_a_dry_run_is_told_as_json(room: "Room") -> None:
    source = save_torch(Model(), room.home / "iter_0000006")

    said = json.loads(room.run("convert", source, room.home / "hf", "--dry-run", "--json").stdout)

    gate = said["files"]["model.safetensors"]["model.layers.0.mlp.gate_proj.weight"]
    assert gate == {"shape": [40, 32], "dtype": "float32"}
    assert (said["architecture"], said["format"], said["iteration"]) == ("LlamaForCausalLM", "torch", 6)
    assert not (room.home / "hf").exists()


def test_a_result_that_was_moved_is_told_where_it_is(room: "Room") -> None:
    source = save_torch(Model(), room.home / "iter_0000006")
    room.run("convert", source, room.home / "hf")
    (room.home / "hf").rename(room.home / "model")

    said = json.loads(room.run("convert", source, room.home / "model", "--json").stdout)

    assert said["target"] == str(room.home / "model")


def test_a_refusal_says_what_why_and_fix(room: "Room") -> None:
    done = room.run("convert", room.home / "absent", room.home / "hf")

    assert done.returncode == 1
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == ["autoexp", "why", "fix"]


def test_without_numpy_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ModuleNotFoundError('numpy', name='numpy')")
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from autoexp.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path, "convert", "a", "b"], check=False, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "autoexp[convert]" in done.stderr
