import json
from pathlib import Path
from typing import Any

import pytest

from autoexp.conversion import tokenizer
from autoexp.errors import AutoexpError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tokenizer"
    made.mkdir()
    words = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "<end>", "id": 7}]}
    (made / "tokenizer.json").write_text(json.dumps(words))
    (made / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"}, "bos_token": "a"}))
    (made / "notes.txt").write_text("none of it")
    return made


def test_its_size_is_one_more_than_the_highest_number_and_tokens_with_a_task_are_named(folder: Path) -> None:
    found = tokenizer.read(folder)

    assert found.size == 8
    assert found.specials == {"bos_token_id": 0, "eos_token_id": 7, "pad_token_id": None}


def test_only_its_own_files_are_copied(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()

    assert tokenizer.read(folder).copy(tmp_path / "to") == ["tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"vocab.json": {"a": 0, "b": 4}, "merges.txt": {}}, 5),
        ({"tokenizer.json": {"model": {"vocab": [["a", 0.5], ["b", 0.1]]}}}, 2),
        ({"chat_template.json": {}}, None),
    ],
)
def test_each_kind_of_tokenizer_says_its_size_or_that_nobody_knows(
    tmp_path: Path, files: dict[str, Any], size: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))

    assert tokenizer.read(tmp_path).size == size


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "7", '"x"', "[" * 100_000, '{"model": "x"}', '{"model": []}', '{"model": {}}',
        '{"model": {"vocab": "abc"}}', '{"model": {"vocab": [1, 2]}}', '{"model": {"vocab": [[]]}}',
        '{"model": {"vocab": [[[1], 2]]}}', '{"model": {"vocab": {"a": "x"}}}', '{"model": {"vocab": {"a": -5}}}',
        '{"model": {"vocab": {"a": 1.5}}}', '{"model": {"vocab": {"a": true}}}', '{"model": {"vocab": {"a": 1e400}}}',
        '{"model": {"vocab": {"a": 1}}, "added_tokens": {"a": 1}}', '{"model": {}, "added_tokens": [1]}',
        '{"model": {"vocab": {"a": 1}}, "added_tokens": [{"content": [], "id": 1}]}',
        f'{{"model": {{"vocab": {{"a": {"9" * 5000}}}}}}}',
    ],
)  # fmt: skip
def test_an_odd_one_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)

    with pytest.raises(AutoexpError, match=r"tokenizer\.json is damaged"):
        tokenizer.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("added_tokens.json", '{"a": "b"}'),
        ("added_tokens.json", "[1]"),
        ("tokenizer_config.json", '{"eos_token": 5}'),
        ("tokenizer_config.json", '{"eos_token": {"content": []}}'),
    ],
)
def test_an_odd_file_beside_it_is_refused_by_its_name(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)

    with pytest.raises(AutoexpError, match=f"{name} is damaged"):
        tokenizer.read(folder)


def test_what_is_no_file_or_too_large_for_one_is_refused(folder: Path) -> None:
    (folder / "vocab.json").mkdir()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AutoexpError, match="Is a directory"):
        tokenizer.read(folder)
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(tokenizer.LARGEST_BYTES + 1)
    with pytest.raises(AutoexpError, match="more than 256 MiB"):
        tokenizer.read(folder)


def test_a_folder_without_one_is_refused_and_so_is_a_damaged_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent", tmp_path / ("x" * 300)):
        with pytest.raises(AutoexpError, match="holds no tokenizer"):
            tokenizer.read(folder)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(AutoexpError, match="damaged"):
        tokenizer.read(tmp_path)
