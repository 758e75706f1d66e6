import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autoexp.conversion import drafts, writing
from autoexp.conversion.job import Wishes, convert, plan
from autoexp.conversion.traits import traits_of
from autoexp.errors import AutoexpError
from tests.conversion.megatron import KINDS, Model, Saver, save_dist, save_torch

TOP = Path(__file__).parent.parent.parent
LAYOUTS: dict[str, Saver] = {
    "one rank": save_torch,
    "Transformer Engine's names": lambda model, folder: save_torch(model, folder, style="te"),
    "two tensor ranks": lambda model, folder: save_torch(model, folder, tensor=2),
    "two uneven stages": lambda model, folder: save_torch(model, folder, stages=((1,), (2,))),
    "two by two": lambda model, folder: save_torch(model, folder, tensor=2, stages=((2,), (1,)), style="te"),
    "chunks of a virtual pipeline": lambda model, folder: save_torch(model, folder, stages=((1, 1), (1, 0))),
    "torch_dist": save_dist,
    "torch_dist of core 0.19": lambda model, folder: save_dist(model, folder, common="item"),
    "torch_dist, numbered": lambda model, folder: save_dist(model, folder, numbered=True),
}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_logits_of_megatrons_formulas(
    load: Callable[[str], ModuleType], tmp_path: Path, kind: str
) -> None:
    """The formulas are those of plain torch, on the tensors that were drawn; for opensci there is no model to load."""
    model = Model(kind=kind)
    source = save_torch(model, tmp_path / "iter_0000006")
    made = convert(source, tmp_path / "hf", Wishes())
    if kind == "opensci":
        assert made["architecture"] == "OpensciForCausalLM"
        made = convert(source, tmp_path / "hf2", Wishes(names="q_layernorm"))
        return
    checker = load("verify_hf")
    tokens = torch.randint(0, 64, (2, 20), generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        want = checker.logits(traits_of(plan(source, Wishes()).source), model.weights(), tokens)
        got = checker.load(tmp_path / "hf")(tokens).logits

    assert want.abs().max() > 0.5
    assert (got - want).abs().max() < 2e-5 * want.abs().max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "one rank"])
def test_however_the_ranks_shared_a_model_it_comes_to_the_same_tensors(tmp_path: Path, kind: str, layout: str) -> None:
    model = Model(kind=kind, dtype=torch.bfloat16)
    convert(save_torch(model, tmp_path / "one" / "iter_0000006"), tmp_path / "want", Wishes())

    convert(LAYOUTS[layout](model, tmp_path / "several" / "iter_0000006"), tmp_path / "hf", Wishes())

    want, got = weights_of(tmp_path / "want"), weights_of(tmp_path / "hf")
    assert want.keys() == got.keys()
    assert [name for name in want if not torch.equal(want[name], got[name])] == []
    assert (tmp_path / "want" / "config.json").read_text() == (tmp_path / "hf" / "config.json").read_text()


@pytest.mark.parametrize("layout", [{"style": "local"}, {"style": "te"}, {"tensor": 2}, {"stages": ((2,), (1,))}])
def test_experts_of_several_ranks_are_put_in_order(tmp_path: Path, layout: dict[str, Any]) -> None:
    model = Model(kind="mixtral")
    convert(save_torch(model, tmp_path / "one" / "iter_0000006"), tmp_path / "want", Wishes())

    convert(save_torch(model, tmp_path / "two" / "iter_0000006", experts=2, **layout), tmp_path / "hf", Wishes())

    want, got = weights_of(tmp_path / "want"), weights_of(tmp_path / "hf")
    assert [name for name in want if not torch.equal(want[name], got[name])] == []


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("layout", [{}, {"tensor": 2}, {"stages": ((2,), (1,))}])
def test_legacy_models_ignore_the_rotary_base(tmp_path: Path, kind: str, layout: dict[str, Any]) -> None:
    model = Model(kind=kind)
    convert(save_torch(model, tmp_path / "one" / "iter_0000006"), tmp_path / "want", Wishes())

    convert(save_torch(model, tmp_path / "old" / "iter_0000006", style="legacy", **layout), tmp_path / "hf", Wishes())

    want, got = weights_of(tmp_path / "want"), weights_of(tmp_path / "hf")
    assert [name for name in want if not torch.equal(want[name], got[name])] == []
    assert json.loads((tmp_path / "hf" / "config.json").read_text()).get("rope_theta") in (None, 10000.0)


# What is asked for


def test_a_tokenizer_is_copied_and_cuts_the_vocabulary_to_its_length(tmp_path: Path) -> None:
    words = tmp_path / "tokenizer"
    words.mkdir()
    (words / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {str(n): n for n in range(50)}}}))
    (words / "tokenizer_config.json").write_text(json.dumps({"eos_token": "7"}))
    source = save_torch(Model(), tmp_path / "iter_0000006")

    made = convert(source, tmp_path / "hf", Wishes(tokenizer=words))

    assert made["vocabulary"] == {"rows": 64, "kept": 50}
    weights, config = weights_of(tmp_path / "hf"), json.loads((tmp_path / "hf" / "config.json").read_text())
    assert {weights[name].shape[0] for name in ("model.embed_tokens.weight", "lm_head.weight")} == {50}
    assert (config["vocab_size"], config["eos_token_id"], config["bos_token_id"]) == (50, 7, None)
    assert {"tokenizer.json", "tokenizer_config.json"} < made["outputs"].keys()
    with pytest.raises(AutoexpError, match="--vocab-size 49 leaves out words of the tokenizer"):
        plan(source, Wishes(tokenizer=words, vocab_size=49))
    for same in (words, Path(os.path.relpath(words))):
        assert convert(source, tmp_path / "hf", Wishes(tokenizer=same)) == made
    (words / "tokenizer_config.json").write_text(json.dumps({"eos_token": "8"}))
    with pytest.raises(AutoexpError, match="otherwise"):
        convert(source, tmp_path / "hf", Wishes(tokenizer=words))
    assert torch.equal(weights["lm_head.weight"], Model().weights()["output.weight"][:50])


def test_another_type_of_numbers_is_rounded_as_torch_does(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes(dtype="bfloat16"))

    assert torch.equal(
        weights_of(tmp_path / "hf")["lm_head.weight"], Model().weights()["output.weight"].to(torch.bfloat16)
    )
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "bfloat16"


def test_several_files_have_an_index_that_transformers_reads(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")

    made = convert(source, tmp_path / "hf", Wishes(shard_bytes=20_000))

    assert len([name for name in made["outputs"] if name.endswith(".safetensors")]) > 2
    assert load("verify_hf").verify(source, tmp_path / "hf")


def test_an_unknown_scheme_of_names_is_refused(tmp_path: Path) -> None:
    source = save_torch(Model(kind="opensci"), tmp_path / "iter_0000006")

    with pytest.raises(AutoexpError, match="it has q_norm, q_layernorm"):
        plan(source, Wishes(names="x"))
    names = {output.name for output in plan(source, Wishes(names="q_layernorm")).outputs}
    assert "model.layers.0.self_attn.k_layernorm.weight" in names


# What is refused


def test_a_save_directory_is_refused_with_its_newest_iteration(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")

    with pytest.raises(AutoexpError, match="cannot be converted") as refusal:
        plan(tmp_path, Wishes())
    assert str(source) in refusal.value.fix


@pytest.mark.parametrize("name", ["decoder.layers.0.self_attention.gate.weight", "optimizer.hidden.weight"])
def test_what_no_architecture_has_a_place_for_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    path = source / "mp_rank_00" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["model"][name] = torch.zeros(3)
    torch.save(state, path)

    with pytest.raises(AutoexpError, match=f"^{re.escape(name)} would be left out"):
        convert(source, tmp_path / "hf", Wishes())
    assert not (tmp_path / "hf").exists()


def test_nothing_in_a_hostile_checkpoint_runs(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    source = save_torch(Model(told={"save": Trap()}), tmp_path / "iter_0000006", rng_state=Trap())

    convert(source, tmp_path / "hf", Wishes())

    assert not (tmp_path / "sprung").exists()


# The output folder


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder, *folder.iterdir())}


def test_the_manifest_tells_what_was_made_of_what(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)

    made = convert(source, tmp_path / "hf", Wishes())

    assert made == json.loads((tmp_path / "hf" / "conversion.json").read_text())
    assert (made["source"], made["iteration"], made["format"]) == (str(source), 6, "torch")
    assert made["parameters"] == sum(tensor.numel() for tensor in weights_of(tmp_path / "hf").values())
    assert made["outputs"].keys() == {"model.safetensors", "config.json", "generation_config.json"}
    for name, told in made["outputs"].items():
        data = (tmp_path / "hf" / name).read_bytes()
        assert told == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    sizes = {str(path.relative_to(source)): path.stat().st_size for path in source.glob("*/*.pt")}
    assert {name: told["bytes"] for name, told in made["inputs"].items()} == sizes
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == sorted([*made["outputs"], "conversion.json"])


def test_a_finished_output_is_left_alone_even_when_the_checkpoint_is_gone(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    made = convert(source, tmp_path / "hf", Wishes())
    before = snapshot(tmp_path / "hf")

    assert convert(source, tmp_path / "hf", Wishes()) == made
    shutil.rmtree(source)
    assert convert(source, tmp_path / "hf", Wishes()) == made

    assert snapshot(tmp_path / "hf") == before


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda hf: (hf / "conversion.json").unlink(), id="somebody else's folder"),
        pytest.param(lambda hf: (hf / "conversion.json").write_text("[]"), id="another manifest"),
        pytest.param(lambda hf: os.truncate(hf / "model.safetensors", 99), id="cut weights"),
        pytest.param(lambda hf: (hf / "config.json").unlink(), id="a file missing"),
    ],
)
def test_what_is_no_finished_output_is_never_overwritten(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    harm(tmp_path / "hf")
    before = snapshot(tmp_path / "hf")

    with pytest.raises(AutoexpError, match="in the way"):
        convert(source, tmp_path / "hf", Wishes())

    assert snapshot(tmp_path / "hf") == before


def test_the_output_of_another_checkpoint_or_of_other_wishes_is_never_taken_for_this_one(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())

    for other, wishes, why in (
        (save_torch(Model(), tmp_path / "iter_0000007", iteration=7), Wishes(), f"another checkpoint: {source}"),
        (source, Wishes(vocab_size=9), "otherwise: --vocab-size was not given then, and is 9 now"),
        (source, Wishes(shard_bytes=9), "otherwise: --shard-size was 5000000000 then, and is 9 now"),
        (source, Wishes(ignore_args=("x",)), r"otherwise: --ignore-arg was not given then, and is \['x'\] now"),
    ):
        with pytest.raises(AutoexpError, match=why):
            convert(other, tmp_path / "hf", wishes)
    os.utime(source / "mp_rank_00" / "model_optim_rng.pt")
    with pytest.raises(AutoexpError, match=r"of another save: mp_rank_00/model_optim_rng\.pt is another file by now"):
        convert(source, tmp_path / "hf", Wishes())


def test_an_output_whose_checkpoint_has_lost_a_file_says_so_and_one_that_lost_its_checkpoint_is_finished(
    tmp_path: Path,
) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    made = convert(source, tmp_path / "hf", Wishes())
    (source / "mp_rank_00" / "model_optim_rng.pt").unlink()

    with pytest.raises(AutoexpError, match="iter_0000006 is not whole any more") as told:
        convert(source, tmp_path / "hf", Wishes())

    assert str(tmp_path / "hf") in told.value.why
    shutil.rmtree(source)
    assert convert(source, tmp_path / "hf", Wishes()) == made


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param(".", "a name of its own", id="the folder we are in"),
        pytest.param("absent/..", "a name of its own", id="no name"),
        pytest.param("link", "leads nowhere", id="a dangling link"),
        pytest.param("empty", "a link to an empty folder", id="a link to an empty folder"),
        pytest.param("circle", "Too many levels", id="a circle of links"),
        pytest.param("file", "it is no folder", id="a file"),
        pytest.param("x" * 300, "File name too long", id="a long name"),
        pytest.param("a\0b", "null byte", id="a name that cannot be"),
        pytest.param("nested", "RecursionError", id="an odd manifest"),
    ],
)
def test_where_no_folder_can_appear_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    (tmp_path / "here" / "nested").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    if name == ".":
        Path("nested").rmdir()
    else:
        Path("nested", "conversion.json").write_text("[" * 100_000)
        Path("file").touch()
        Path("link").symlink_to("nowhere")
        Path("real").mkdir()
        Path("empty").symlink_to("real")
        Path("circle").symlink_to("circle")

    with pytest.raises(AutoexpError, match="is in the way") as told:
        convert(source, Path(name), Wishes())

    assert why in told.value.why
    assert not list(Path().glob(".*partial"))


@pytest.mark.parametrize(
    ("name", "fix"), [("y" * 240, "give another folder"), ("{top}/file/hf/deeper", "or move it elsewhere first")]
)
def test_what_the_file_system_refuses_has_its_own_fix(tmp_path: Path, name: str, fix: str) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    (tmp_path / "file").touch()

    with pytest.raises(AutoexpError) as told:
        convert(source, tmp_path / name.format(top=tmp_path), Wishes())

    assert fix in told.value.fix


def test_a_finished_output_of_a_checkpoint_that_is_a_circle_now_is_of_another_one(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    convert(source, tmp_path / "hf", Wishes())
    (tmp_path / "circle").symlink_to("circle")

    with pytest.raises(AutoexpError, match="made of another checkpoint"):
        convert(tmp_path / "circle", tmp_path / "hf", Wishes())


def test_an_empty_output_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()

    convert(save_torch(Model(), tmp_path / "iter_0000006"), tmp_path / "hf", Wishes())

    assert (tmp_path / "hf" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        pytest.param(os.utime, "changed while it was read", id="a save over it"),
        pytest.param(lambda path: os.truncate(path, 9000), "was cut while it was read", id="a shard is cut"),
        pytest.param(lambda path: path.unlink(), "No such file", id="a shard is deleted"),
    ],
)
def test_what_happens_to_the_checkpoint_meanwhile_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object], what: str
) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    write = writing.write_shards

    def write_late(*args: Any) -> Any:
        harm(source / "mp_rank_00" / "model_optim_rng.pt")
        return write(*args)

    monkeypatch.setattr(writing, "write_shards", write_late)

    with pytest.raises(AutoexpError, match=what):
        convert(source, tmp_path / "hf", Wishes())
    assert [path.name for path in tmp_path.iterdir()] == ["iter_0000006"]


@pytest.mark.parametrize("save", [save_torch, save_dist], ids=["torch", "torch_dist"])
def test_a_save_over_the_checkpoint_after_it_was_planned_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Saver
) -> None:
    """Another conversion may be waited for in between, for minutes."""
    source = save(Model(), tmp_path / "iter_0000006")
    draft = drafts.draft

    def draft_late(*args: Any) -> Any:
        for path in source.rglob("*"):
            os.utime(path)
        return draft(*args)

    monkeypatch.setattr(drafts, "draft", draft_late)

    with pytest.raises(AutoexpError, match="changed while it was read"):
        convert(source, tmp_path / "hf", Wishes())
    assert [path.name for path in tmp_path.iterdir()] == ["iter_0000006"]


KILL = """
import os, sys
from pathlib import Path
from autoexp.conversion.job import Wishes, convert
count = int(sys.argv[1])
def mortal(call):
    def die(*args, **kwargs):
        global count
        count -= 1
        if count == 0: os.kill(os.getpid(), 9)
        return call(*args, **kwargs)
    return die
for name in ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink", "preadv"):
    setattr(os, name, mortal(getattr(os, name)))
convert(Path(sys.argv[2]), Path(sys.argv[3]), Wishes(shard_bytes=20000))
"""


@pytest.mark.parametrize("part", range(4))
def test_killed_anywhere_it_leaves_no_output_or_a_whole_one_and_the_next_run_finishes(
    tmp_path: Path, part: int
) -> None:
    model = Model(told={"num_layers": 1})
    source = save_torch(model, tmp_path / "iter_0000006", tensor=2)
    want = convert(source, tmp_path / "want", Wishes(shard_bytes=20_000))["outputs"]
    for count in range(1 + part, 1000, 12):
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        command = [sys.executable, "-c", KILL, str(count), str(source), str(tmp_path / "hf")]
        killed = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": str(TOP)})
        if killed.returncode == 0:
            break
        assert killed.returncode == -9
        assert convert(source, tmp_path / "hf", Wishes(shard_bytes=20_000))["outputs"] == want
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "iter_0000006", "want"]
    assert count > 20


def test_two_at_once_leave_one_whole_output(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    want = convert(source, tmp_path / "want", Wishes(shard_bytes=20_000))["outputs"]
    for _ in range(3):
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        command = [sys.executable, "-c", KILL, "0", str(source), str(tmp_path / "hf")]
        copies = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(TOP)}) for _ in range(3)]

        assert [copy.wait(120) for copy in copies] == [0, 0, 0]
        assert convert(source, tmp_path / "hf", Wishes(shard_bytes=20_000))["outputs"] == want
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "iter_0000006", "want"]


def test_a_number_too_large_for_its_new_type_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    path = source / "mp_rank_00" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["model"]["decoder.layers.0.mlp.linear_fc2.weight"][0, 0] = 1e5
    torch.save(state, path)

    with pytest.raises(AutoexpError, match=r"layers\.0\.mlp\.down_proj\.weight has numbers too large for float16"):
        convert(source, tmp_path / "hf", Wishes(dtype="float16"))

    assert [path.name for path in tmp_path.iterdir()] == ["iter_0000006"]


@pytest.mark.parametrize(
    ("target", "what", "why"),
    [
        ("/proc/x", "/proc/x cannot be written", "in /proc: "),
        ("/proc/a/b", "/proc/a/b cannot be written", "/proc/a cannot be made: "),
        ("{top}/file/hf", "{top}/file is in the way", "it is no folder"),
        ("{top}/file/a/hf", "{top}/file is in the way", "it is no folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_named_and_not_the_checkpoint(
    tmp_path: Path, target: str, what: str, why: str
) -> None:
    (tmp_path / "file").touch()
    source = save_torch(Model(), tmp_path / "iter_0000006")

    with pytest.raises(AutoexpError) as told:
        convert(source, Path(target.format(top=tmp_path)), Wishes())

    assert told.value.what == what.format(top=tmp_path)
    assert told.value.why.startswith(why)
    assert "give another folder" in told.value.fix


@pytest.mark.parametrize(
    ("number", "where", "what", "why"),
    [
        (errno.ENOSPC, (), "{top}/hf cannot be written", "in {top}: No space"),
        (errno.EROFS, ("{top}/.hf.~1.partial",), "{top}/hf cannot be written", "in {top}: Read-only"),
        (errno.EACCES, ("{top}/hf/conversion.json",), "{top}/hf cannot be written", "in {top}: Permission"),
        (errno.EACCES, ("{top}/iter_0000006/x.pt",), "{top}/iter_0000006 cannot be read", "{top}/iter_0000006/x.pt: "),
        (errno.EIO, (), "{top}/iter_0000006 cannot be converted into {top}/hf", "reading or writing: Input"),
        (errno.ENOSPC, ("{top}/words/a", None, "{top}/.hf.~1.partial/a"), "{top}/hf cannot be written", "in {top}: "),
        (errno.EACCES, ("{top}/words/a",), "{top}/words cannot be read", "{top}/words/a: Permission"),
    ],
)
def test_an_error_of_the_disk_names_the_side_that_it_is_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    where: tuple[str | None, ...],
    what: str,
    why: str,
) -> None:
    source, words = save_torch(Model(), tmp_path / "iter_0000006"), tmp_path / "words"
    words.mkdir()
    (words / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {str(n): n for n in range(50)}}}))
    places = [place and place.format(top=tmp_path) for place in where]

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), *places)

    monkeypatch.setattr(writing, "write_shards", fail)
    with pytest.raises(AutoexpError) as told:
        convert(source, tmp_path / "hf", Wishes(tokenizer=words))

    assert told.value.what == what.format(top=tmp_path)
    assert told.value.why.startswith(why.format(top=tmp_path))


def test_after_a_full_disk_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    wishes = Wishes(shard_bytes=20_000)
    claims: list[int] = []
    real = os.posix_fallocate

    def claim(descriptor: int, start: int, length: int) -> None:
        claims.append(length)
        if len(claims) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, start, length)

    monkeypatch.setattr(os, "posix_fallocate", claim)
    with pytest.raises(AutoexpError) as told:
        convert(source, tmp_path / "hf", wishes)
    (draft,) = tmp_path.glob(".hf.*.partial")
    done = {path.name: path.stat().st_ino for path in draft.glob("*.safetensors")}

    convert(source, tmp_path / "hf", wishes)

    assert "goes on where it stopped" in (told.value.fix or "")
    assert done
    assert {name: (tmp_path / "hf" / name).stat().st_ino for name in done} == done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "iter_0000006"]


@pytest.mark.parametrize(("kind", "lost"), [("qwen3", "q_layernorm"), ("opensci", "linear_fc1.bias")])
def test_a_model_whose_arguments_demand_more_weights_does_not_become_one_that_has_fewer(
    tmp_path: Path, kind: str, lost: str
) -> None:
    source = save_torch(Model(kind=kind), tmp_path / "iter_0000006")
    path = source / "mp_rank_00" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["model"] = {name: value for name, value in state["model"].items() if lost not in name}
    torch.save(state, path)

    with pytest.raises(AutoexpError, match="is missing"):
        plan(source, Wishes())


@pytest.mark.parametrize("place", ["mp_rank_01", "hf", "mp_rank_00/hf"])
def test_a_target_in_the_checkpoint_is_refused_and_the_checkpoint_stays_as_it_is(tmp_path: Path, place: str) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    (tmp_path / "link").symlink_to(source)
    before = sorted(source.rglob("*"))

    for checkpoint, output in ((source, tmp_path / "link" / place), (tmp_path / "link", source / place)):
        with pytest.raises(AutoexpError, match="lies in the checkpoint"):
            convert(checkpoint, output, Wishes())

    assert sorted(source.rglob("*")) == before
