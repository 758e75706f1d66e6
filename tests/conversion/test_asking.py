import argparse
from pathlib import Path

import pytest

from autoexp.conversion import asking, job
from autoexp.conversion.job import Wishes
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_torch


def test_the_options_are_the_wishes() -> None:
    parser = argparse.ArgumentParser()
    asking.add_options(parser)
    words = ["--arch", "mistral", "--tokenizer", "t", "--vocab-size", "7", "--dtype", "bfloat16", "--names", "q_norm"]

    assert asking.wishes_of(parser.parse_args([])) == Wishes()
    assert asking.wishes_of(parser.parse_args(words)) == Wishes(
        arch="mistral", tokenizer=Path("t"), vocab_size=7, dtype="bfloat16", names="q_norm"
    )


def test_a_private_repository_without_an_upload_is_refused() -> None:
    parser = argparse.ArgumentParser()
    asking.add_options(parser)

    with pytest.raises(AutoexpError, match="--private would have no effect"):
        asking.wishes_of(parser.parse_args(["--private"]))


@pytest.mark.parametrize("names", [None, "q_layernorm"])
def test_a_model_that_transformers_does_not_know_says_whose_code_it_needs(tmp_path: Path, names: str | None) -> None:
    source = save_torch(Model(kind="opensci"), tmp_path / "iter_0000006")
    says = "needs beside it: configuration_opensci.py and modeling_opensci.py, as published with tensors named "

    made = asking.convert(source, tmp_path / "hf", Wishes(names=names))

    assert asking.needed(made) == f"{says}{names or 'q_norm'}\n"
    assert asking.needed(made).strip() in asking.table(job.plan(source, Wishes(names=names)))


def test_a_model_that_transformers_knows_needs_nothing_beside_it(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")

    assert asking.needed(asking.convert(source, tmp_path / "hf", Wishes())) == ""


def test_the_table_names_every_tensor(tmp_path: Path) -> None:
    planned = job.plan(save_torch(Model(), tmp_path / "iter_0000006"), Wishes())

    lines = list(asking.table(planned))

    assert lines[1].startswith("LlamaForCausalLM (llama: the first of those that fit; mistral would do too")
    assert "  model.layers.2.self_attn.k_proj.weight [24, 32] float32" in lines
    assert len(lines) == 4 + len(planned.outputs)


@pytest.mark.parametrize("count", ["0", "-5", "x", "9" * 5000])
def test_a_vocabulary_of_no_tokens_is_refused_as_it_is_written(capsys: pytest.CaptureFixture[str], count: str) -> None:
    parser = argparse.ArgumentParser()
    asking.add_options(parser)

    with pytest.raises(SystemExit):
        parser.parse_args([f"--vocab-size={count}"])

    assert "is no number of tokens: write one from 1 on" in capsys.readouterr().err


def test_what_is_ignored_is_given_by_name() -> None:
    parser = argparse.ArgumentParser()
    asking.add_options(parser)

    assert asking.wishes_of(parser.parse_args(["--ignore-arg", "a", "b"])).ignore_args == ("a", "b")
    assert asking.wishes_of(parser.parse_args([])).ignore_args == ()
