import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from tests.conversion.megatron import Model, save_dist, save_torch

if TYPE_CHECKING:
    from tests.conftest import Room

ROOT = Path(__file__).parent.parent.parent
HOOK = ROOT / "hooks" / "megatron_to_hf.py"


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("megatron_to_hf")


def flags(checkpoint: Path, output: Path) -> list[str]:
    return ["--checkpoint", str(checkpoint), "--output", str(output)]


def test_it_converts_and_says_what(hook: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_dist(Model(kind="qwen3"), tmp_path / "iter_0000006")

    assert hook.main([*flags(source, tmp_path / "hf"), "--dtype", "bfloat16"]) == 0

    assert "iteration 6, Qwen3ForCausalLM" in capsys.readouterr().out
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "bfloat16"


def test_classes_that_only_megatron_has_are_passed_over(
    tmp_path: Path, foreign_enum: object, environment: dict[str, str]
) -> None:
    model = Model(told={"model_type": foreign_enum})
    source = save_torch(model, tmp_path / "iter_0000006", rng_state=io.BytesIO(b"scales"))

    subprocess.run([sys.executable, str(HOOK), *flags(source, tmp_path / "hf")], env=environment, check=True)

    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_as_a_job_it_needs_no_torch_and_a_refusal_is_three_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    for name in ("torch", "safetensors", "transformers"):
        (tmp_path / "poison" / name).mkdir(parents=True)
        (tmp_path / "poison" / name / "__init__.py").write_text("raise SystemExit('imported')")
    poisoned = {**environment, "PYTHONPATH": f"{tmp_path / 'poison'}:{ROOT}"}

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HOOK), *flags(folder, tmp_path / "hf")]
        return subprocess.run(command, env=poisoned, check=False, capture_output=True, text=True)

    refused, done = run(tmp_path / "absent"), run(source)

    assert refused.returncode == 1
    assert [line.split(":")[0].strip() for line in refused.stderr.splitlines()] == ["megatron_to_hf", "why", "fix"]
    assert (done.returncode, done.stderr) == (0, "")
    assert load_file(tmp_path / "hf" / "model.safetensors")


def test_a_job_that_it_fails_says_what_happened(room: "Room") -> None:
    (room.home / "s.yaml").write_text(
        "{study: s, machine: local, stages: {convert: {hook: megatron_to_hf, with: {checkpoint: absent}}}}"
    )

    assert room.run("run", "s.yaml").returncode == 1

    (study,) = json.loads(room.run("status", "experiments", "--json").stdout)["studies"]
    (job,) = study["jobs"]
    assert "absent cannot be converted" in job["reason"]
