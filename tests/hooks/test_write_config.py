"""A job's values in the configuration file of its program."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from autoexp.errors import HookRefused

HOOK = Path(__file__).parents[2] / "hooks" / "write_config.py"
BASE = """\
# a comment
settings:
  step_profile: {sequence_length: 512, micro: 1}
  rank: ${modalities_env:local_rank}
layers: [{heads: 2}, {heads: 4}]
tokens: ${settings.step_profile.sequence_length}
"""


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    """The hook as a module."""
    return load("write_config")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_values_are_put_in_their_places_and_all_else_stays_as_it_is_written(
    hook: ModuleType, base: Path, tmp_path: Path
) -> None:
    given = {"settings.step_profile.sequence_length": 2048, "layers.1.heads": [8, 9]}

    told = hook.prepare(tmp_path, **{"from": str(base), "set": given})

    written = tmp_path / "config.yaml"
    assert told["config"] == str(written)
    assert "${modalities_env:local_rank}" in written.read_text()
    config = OmegaConf.load(written)
    assert (config.tokens, config.settings.step_profile.micro, config.layers[1].heads) == (2048, 1, [8, 9])
    assert base.read_text() == BASE


def test_what_two_files_say_has_one_hash_whatever_the_order_of_their_keys(
    hook: ModuleType, base: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("\n".join(reversed(BASE.splitlines()[4:])) + "\n" + "\n".join(BASE.splitlines()[:4]))

    hashes = [hook.prepare(tmp_path, **{"from": str(path)})["sha256"] for path in (base, other)]
    changed = hook.prepare(tmp_path, **{"from": str(base), "set": {"layers.0.heads": 3}})["sha256"]

    assert hashes[0] == hashes[1] != changed


def test_a_second_attempt_writes_the_same_file(hook: ModuleType, base: Path, tmp_path: Path) -> None:
    values = {"from": str(base), "set": {"layers.0.heads": 3}, "to": "run.yaml"}

    first = hook.prepare(tmp_path, **values)
    before = (tmp_path / "run.yaml").read_bytes()

    assert hook.prepare(tmp_path, **values) == first
    assert (tmp_path / "run.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"set": {"settings.step_profile.seq": 1}}, "has no settings.step_profile.seq"),
        ({"set": {"layers.2.heads": 1}}, "has no layers.2.heads"),
        ({"set": {"tokens.more": 1}}, "has no tokens.more"),
        ({"from": "/no/such/file.yaml"}, "cannot be used: "),
        ({"from": None}, "it is told "),
        ({"set": [1]}, "it is told "),
    ],
)
def test_a_value_without_a_place_is_a_refusal_and_writes_nothing(
    hook: ModuleType, base: Path, tmp_path: Path, values: dict[str, object], why: str
) -> None:
    with pytest.raises(HookRefused) as refused:
        hook.prepare(tmp_path, **{"from": str(base), **values})

    assert why in refused.value.why
    assert refused.value.fix
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("text", ["a: [", "a: ${", "\tb: 1", "- 1\n- 2: ["])
def test_a_file_that_is_no_yaml_is_a_refusal(hook: ModuleType, base: Path, tmp_path: Path, text: str) -> None:
    base.write_text(text)

    with pytest.raises(HookRefused):
        hook.prepare(tmp_path, **{"from": str(base)})


def test_by_hand_it_says_what_it_wrote_or_why_not(base: Path, tmp_path: Path) -> None:
    def by_hand(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(HOOK), "--from", str(base), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = by_hand("--set", "settings.step_profile.micro=4")
    assert json.loads(done.stdout)["config"] == str(tmp_path / "config.yaml")
    assert OmegaConf.load(tmp_path / "config.yaml").settings.step_profile.micro == 4
    done = by_hand("--set", "micro=4")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no micro" in done.stderr
