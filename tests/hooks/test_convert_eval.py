import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conversion.megatron import Model, save_torch


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    """The hook's module."""
    return load("convert_eval")


def test_a_checkpoint_is_converted_and_measured(hook: ModuleType, tmp_path: Path) -> None:
    source = save_torch(Model(kind="gpt2", told={"padded_vocab_size": 256}), tmp_path / "iter_0000006")
    told = ["--checkpoint", str(source), "--output", str(tmp_path), "--windows", "2", "--seq-length", "16"]

    assert hook.main(told) == 0
    assert hook.main(told) == 0  # a second attempt finds the model

    assert (tmp_path / "hf" / "config.json").is_file()
    assert json.loads((tmp_path / "eval" / "results.json").read_text())["iteration"] == 6


def test_what_cannot_be_converted_is_not_measured(
    hook: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hook.main(["--checkpoint", str(tmp_path / "absent"), "--output", str(tmp_path)]) == 1

    assert capsys.readouterr().err.startswith("convert_eval: ")
    assert not (tmp_path / "eval").exists()
