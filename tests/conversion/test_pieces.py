import io
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from autoexp.conversion import pieces, tokenizer
from autoexp.errors import AutoexpError


@pytest.fixture(scope="module")
def model() -> bytes:
    """Train a real one."""
    written = io.BytesIO()
    lines = iter(["the quick brown fox jumps over the lazy dog", "größer als Grüße"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=written, vocab_size=60, model_type="bpe", minloglevel=2
    )
    return written.getvalue()


def test_the_tokens_are_those_that_the_library_reads(model: bytes) -> None:
    known = sentencepiece.SentencePieceProcessor(model_proto=model)

    assert pieces.read(model) == [known.id_to_piece(number) for number in range(known.vocab_size())]


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model"])
def test_a_tokenizer_that_has_nothing_else_says_its_size(model: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(model)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')

    found = tokenizer.read(tmp_path)

    assert (found.size, found.specials) == (60, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None})


@given(data=st.data())
def test_a_model_that_is_cut_has_fewer_tokens_or_is_damaged(data: st.DataObject, model: bytes) -> None:
    cut = model[: data.draw(st.integers(0, len(model) - 1))]

    try:
        found = pieces.read(cut)
    except ValueError:
        return
    assert found == pieces.read(model)[: len(found)]


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = pieces.read(data)
    except ValueError:
        return
    assert all(isinstance(piece, str) for piece in found)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1")

    with pytest.raises(AutoexpError, match="is damaged") as refusal:
        tokenizer.read(tmp_path)

    assert "no SentencePiece model" in refusal.value.why
