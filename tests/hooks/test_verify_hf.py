from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file, save_file

from autoexp.conversion.job import Wishes, convert
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_torch


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("verify_hf")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = save_torch(Model(kind="qwen3"), tmp_path / "iter_0000006", tensor=2)
    convert(made, tmp_path / "hf", Wishes())
    return made


def test_a_right_conversion_is_within_the_tolerance(
    hook: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hook.main(["--checkpoint", str(source), "--output", str(tmp_path / "hf")]) == 0
    assert "its logits are within" in capsys.readouterr().out


def test_a_cut_vocabulary_is_compared_where_it_is(hook: ModuleType, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "cut", Wishes(vocab_size=50))

    assert hook.verify(source, tmp_path / "cut")


@pytest.mark.parametrize(
    "harm",
    [
        ("config.json", "0.0003", "0.003"),
        ("config.json", "50000.0", "10000.0"),
        ("model.safetensors", "model.layers.1.self_attn.k_norm.weight", "model.layers.1.self_attn.q_norm.weight"),
        ("model.safetensors", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"),
    ],
)
def test_a_wrong_one_is_told(hook: ModuleType, source: Path, tmp_path: Path, harm: tuple[str, str, str]) -> None:
    name, old, new = harm
    convert(source, tmp_path / "wrong", Wishes())
    path = tmp_path / "wrong" / name
    if name == "config.json":
        text = path.read_text()
        eps = {"0.0003": "1e-06", "0.003": "1e-03"}
        path.write_text(text.replace(eps.get(old, old), eps.get(new, new)))
        assert path.read_text() != text
    else:
        weights = load_file(path)
        weights[old], weights[new] = weights[new], weights[old]
        save_file(weights, path, metadata={"format": "pt"})

    with pytest.raises(AutoexpError, match="is not the model of"):
        hook.verify(source, tmp_path / "wrong")


def test_what_transformers_does_not_know_is_told(hook: ModuleType, tmp_path: Path) -> None:
    source = save_torch(Model(kind="opensci"), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())

    with pytest.raises(AutoexpError, match="transformers cannot load"):
        hook.verify(source, tmp_path / "hf")


def test_what_is_not_whole_is_told(
    hook: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(source, tmp_path / "part", Wishes())
    weights = load_file(tmp_path / "part" / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "part" / "model.safetensors", metadata={"format": "pt"})

    assert hook.main(["--checkpoint", str(source), "--output", str(tmp_path / "part")]) == 1
    assert "is not whole" in capsys.readouterr().err
