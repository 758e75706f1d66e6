import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from autoexp.conversion.job import Wishes, convert, plan
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_dist, save_torch
from tests.formats import make

HOOK = Path(__file__).parent.parent.parent / "hooks" / "verify_hf.py"
BLOCKED = """
import runpy, sys
sys.modules["transformers"] = None
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


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
    assert "and its logits within" in capsys.readouterr().out


def test_without_transformers_all_but_the_logits_is_compared_and_that_is_said(
    hook: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    assert hook.verify(source, tmp_path / "hf").endswith(
        f"its tensors are those of {source}; not compared: its logits, which transformers computes and is not "
        "installed: pip install transformers"
    )
    path = tmp_path / "hf" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"].view(torch.int32)[0] ^= 1
    save_file(weights, path, metadata={"format": "pt"})
    sign(tmp_path / "hf")
    with pytest.raises(AutoexpError, match="is not the model of") as told:
        hook.verify(source, tmp_path / "hf")
    assert "model.norm.weight" in told.value.why


def test_without_transformers_the_hook_starts(source: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", BLOCKED, str(HOOK), "--checkpoint", str(source), "--output", str(tmp_path / "hf"))

    said = subprocess.run(command, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stderr
    assert "not compared: its logits" in said.stdout


def test_a_cut_vocabulary_is_compared_where_it_is(hook: ModuleType, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "cut", Wishes(vocab_size=50))

    assert hook.verify(source, tmp_path / "cut")


def sign(output: Path) -> None:
    """Say in conversion.json that the files are to be as they are."""
    manifest = json.loads((output / "conversion.json").read_text())
    for name, made in manifest["outputs"].items():
        made["sha256"] = sha256((output / name).read_bytes()).hexdigest()
    (output / "conversion.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("old", "new"), [("1e-06", "1e-03"), ("50000.0", "10000.0")])
def test_a_wrong_setting_shows_in_the_logits(
    hook: ModuleType, source: Path, tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "hf" / "config.json"
    text = path.read_text()
    path.write_text(text.replace(old, new))
    assert path.read_text() != text
    sign(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="is not the model of") as told:
        hook.verify(source, tmp_path / "hf")

    assert "its logits are" in told.value.why


@pytest.mark.parametrize("kind", ["qwen3", "gpt2", "one-centred"])
@pytest.mark.parametrize("harm", ["exchanged", "one bit", "lost", "left over"])
def test_a_wrong_tensor_is_named(hook: ModuleType, tmp_path: Path, kind: str, harm: str) -> None:
    source = save_torch(Model(kind=kind), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    path = tmp_path / "hf" / "model.safetensors"
    weights = load_file(path)
    first, second = [name for name in weights if (".1." in name and "norm" in name) or ".ln_" in name][:2]
    if harm == "exchanged":
        weights[first], weights[second] = weights[second], weights[first]
    elif harm == "one bit":
        weights[first].view(torch.int32)[0] ^= 1
    elif harm == "lost":
        del weights[first]
    else:
        weights["spare"] = weights[first].clone()
    save_file(weights, path, metadata={"format": "pt"})
    sign(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="is not the model of") as told:
        hook.verify(source, tmp_path / "hf")

    assert ("spare" if harm == "left over" else first) in told.value.why


def test_a_checkpoint_that_diverged_is_to_blame_itself(hook: ModuleType, tmp_path: Path) -> None:
    made = save_torch(Model(), tmp_path / "iter_0000006")
    file = next(made.rglob("model_optim_rng.pt"))
    saved = torch.load(file, weights_only=False)
    saved["model"]["decoder.final_layernorm.weight"][0] = torch.nan
    torch.save(saved, file)
    convert(made, tmp_path / "hf", Wishes())

    with pytest.raises(AutoexpError, match="is no model to compare") as told:
        hook.verify(made, tmp_path / "hf")

    assert told.value.why == "numbers of final_norm.weight are not finite"


@pytest.mark.parametrize("format_", ["torch", "torch_dist"])
def test_a_byte_that_flipped_in_the_checkpoint_is_found_and_its_tensor_named(
    hook: ModuleType, tmp_path: Path, format_: str
) -> None:
    save = {"torch": save_torch, "torch_dist": save_dist}[format_]
    source = save(Model(), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    piece = plan(source, Wishes()).source.weights["layers.1.mlp.fc2.weight"].pieces[0]
    make.flip(piece.file, piece.start_bytes + 7)

    with pytest.raises(AutoexpError, match="cannot be compared") as told:
        hook.verify(source, tmp_path / "hf")

    assert f"{piece.file}: the checksum of" in told.value.why


def test_what_is_not_converted_is_not_read_either(hook: ModuleType, tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006", optimizer={"state": torch.zeros(9000)})
    convert(source, tmp_path / "hf", Wishes())
    make.flip(source / "mp_rank_00" / "model_optim_rng.pt")

    assert hook.verify(source, tmp_path / "hf")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_byte_that_flipped_in_the_result_is_found_and_its_file_named(
    hook: ModuleType, source: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "hf" / name
    make.flip(path, path.stat().st_size - 3)

    with pytest.raises(AutoexpError, match=f"{name} is not what was converted"):
        hook.verify(source, tmp_path / "hf")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "[" * 100_000, '{"outputs": [], "wishes": {}}'])
def test_without_its_manifest_nothing_is_verified(
    hook: ModuleType, source: Path, tmp_path: Path, text: str | None
) -> None:
    manifest = tmp_path / "hf" / "conversion.json"
    manifest.unlink()
    if text is not None:
        manifest.write_text(text)

    with pytest.raises(AutoexpError, match="is no conversion of ours"):
        hook.verify(source, tmp_path / "hf")


@pytest.mark.parametrize(("name", "value"), [("dtype", "x"), ("dtype", []), ("shard_bytes", "x"), ("kept", "x")])
def test_a_manifest_of_odd_wishes_is_none(
    hook: ModuleType, source: Path, tmp_path: Path, *, name: str, value: object
) -> None:
    manifest = tmp_path / "hf" / "conversion.json"
    said = json.loads(manifest.read_text())
    said["vocabulary" if name == "kept" else "wishes"][name] = value
    manifest.write_text(json.dumps(said))

    with pytest.raises(AutoexpError, match="is no conversion of ours"):
        hook.verify(source, tmp_path / "hf")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_the_manifest_does_not_list_is_told(
    hook: ModuleType, source: Path, tmp_path: Path, name: str
) -> None:
    manifest = tmp_path / "hf" / "conversion.json"
    said = json.loads(manifest.read_text())
    del said["outputs"][name]
    manifest.write_text(json.dumps(said))

    with pytest.raises(AutoexpError, match="is not the model of") as told:
        hook.verify(source, tmp_path / "hf")

    assert f"does not list {name}" in told.value.why


@pytest.mark.parametrize(
    "change", [{"hidden_act": "x"}, {"head_dim": 11}, {"vocab_size": 10}, {"model_type": "opensci"}]
)
def test_a_configuration_that_nobody_can_compute_is_told(
    hook: ModuleType, source: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "hf" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    sign(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="cannot be computed"):
        hook.verify(source, tmp_path / "hf")


def test_a_conversion_that_is_not_hashed_yet_is_not_verified_yet(
    hook: ModuleType, source: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "hf" / "conversion.json"
    said = json.loads(manifest.read_text())
    said["outputs"]["config.json"]["sha256"] = None
    manifest.write_text(json.dumps(said))

    with pytest.raises(AutoexpError, match=r"config\.json is not what was converted") as told:
        hook.verify(source, tmp_path / "hf")

    assert "run the conversion again" in told.value.fix


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ModuleNotFoundError('torch', name='torch')")
    words = ["import sys; sys.path.insert(0, sys.argv[1])", "from autoexp import hooks", "hooks.run('verify_hf', 'x')"]

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(words), tmp_path], check=False, capture_output=True, text=True
    )

    assert "fix: pip install 'autoexp[convert]'" in done.stderr


OPENSCI = {
    "tied": {},
    "untied": {"untie_embeddings_and_output_weights": True},
    "grouped": {"group_query_attention": True},
}


@pytest.mark.parametrize("names", ["q_norm", "q_layernorm"])
@pytest.mark.parametrize("told", OPENSCI.values(), ids=OPENSCI)
def test_what_only_code_beside_the_model_can_load_is_computed_in_plain_torch(
    hook: ModuleType, tmp_path: Path, names: str, told: dict[str, bool]
) -> None:
    source = save_torch(Model(kind="opensci", told=told), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes(names=names))

    said = hook.verify(source, tmp_path / "hf")

    assert "not compared: modeling_opensci.py" in said


def test_code_beside_the_model_is_not_run(hook: ModuleType, tmp_path: Path) -> None:
    source = save_torch(Model(kind="opensci"), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    trap = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    for name in ("modeling_opensci.py", "configuration_opensci.py"):
        (tmp_path / "hf" / name).write_text(trap)

    assert hook.verify(source, tmp_path / "hf")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("old", "new"), [("0.0003", "0.003"), ("50000.0", "10000.0"), ("llama3", "linear")])
def test_a_wrong_setting_of_such_a_model_shows_too(hook: ModuleType, tmp_path: Path, old: str, new: str) -> None:
    told = {"use_rope_scaling": True, "max_position_embeddings": 64}
    source = save_torch(Model(kind="opensci", told=told), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    path = tmp_path / "hf" / "config.json"
    text = path.read_text()
    path.write_text(text.replace(old, new))
    assert path.read_text() != text
    sign(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="is not the model of"):
        hook.verify(source, tmp_path / "hf")


@pytest.mark.parametrize("kind", ["qwen3", "gpt2", "one-centred", "opensci"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_rounded_model_is_held_against_the_rounded_checkpoint(
    hook: ModuleType, tmp_path: Path, kind: str, dtype: str
) -> None:
    source = save_torch(Model(kind=kind), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes(dtype=dtype))

    said = hook.verify(source, tmp_path / "hf")

    moved = float(said.partition(f"{dtype} moves them by ")[2].partition(";")[0])
    assert 1e-5 < moved < {"float16": 1e-2, "bfloat16": 1e-1}[dtype]


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_norms_around_one_lose_nothing_unless_fewer_digits_are_asked_for(
    hook: ModuleType, tmp_path: Path, dtype: str | None
) -> None:
    source = save_torch(Model(kind="one-centred", dtype=torch.bfloat16), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes(dtype=dtype))

    said = hook.verify(source, tmp_path / "hf")

    weights = load_file(tmp_path / "hf" / "model.safetensors")
    assert weights["model.norm.weight"].dtype == (torch.bfloat16 if dtype else torch.float32)
    assert weights["lm_head.weight"].dtype == torch.bfloat16
    assert ("bfloat16 moves them by" in said) == bool(dtype)


def test_a_model_that_transformers_does_not_know_is_told(hook: ModuleType, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "hf" / "config.json"
    path.write_text(path.read_text().replace('"qwen3"', '"qwen33"'))
    sign(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="transformers cannot load"):
        hook.verify(source, tmp_path / "hf")


def test_a_tensor_that_its_configuration_does_not_ask_for_is_told(
    hook: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hf" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": 2}))
    sign(tmp_path / "hf")

    assert hook.main(["--checkpoint", str(source), "--output", str(tmp_path / "hf")]) == 1
    assert "is not whole" in capsys.readouterr().err


def test_two_ranks_that_hold_a_tied_embedding_must_hold_the_same(hook: ModuleType, tmp_path: Path) -> None:
    made = save_torch(Model(kind="llama tied"), tmp_path / "iter_0000006", stages=((2,), (1,)))
    convert(made, tmp_path / "hf", Wishes())
    hook.verify(made, tmp_path / "hf")
    (last,) = made.glob("mp_rank_00_001/*.pt")
    state = torch.load(last, weights_only=False)
    state["model"]["output_layer.weight"][0, 0] += 1
    torch.save(state, last)

    with pytest.raises(AutoexpError, match=r"mp_rank_00_001/.* holds another embedding\.weight"):
        hook.verify(made, tmp_path / "hf")
