from pathlib import Path

import yaml

from autoexp import recipes
from autoexp.importers.writing import write

ARGS = {"a": 1, "b": "${x}", "c": "it's", "d": 2.5, "e": True}
RECIPE = {
    "study": "s",
    "params": {"x": "${calc:'1 if ${y} == \"z\" else 2'}", "long": [*range(60)], "empty": {}},
    "stages": {
        "one": {"command": "echo 1\necho '${x}' # 2\n", "env": {"lr": 1e-05}},
        "two": {"backend": "megatron", "args": ARGS},
        "three": {"backend": "megatron", "args": {**ARGS, "d": 3.5, "f": "1e-3"}},
        "four": {"backend": "megatron", "args": ARGS},
    },
}


def test_what_is_written_reads_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(write(RECIPE, "old.yaml"))

    assert recipes.load_yaml(tmp_path / "r.yaml")[0] == RECIPE


def test_it_looks_as_a_person_would_write_it() -> None:
    text = write(RECIPE, "old.yaml")

    assert text.startswith("# Made of old.yaml by autoexp import")
    assert "  x: ${calc:'1 if ${y} == \"z\" else 2'}\n" in text
    assert "    command: |\n      echo 1\n      echo '${x}' # 2\n" in text
    assert "    args: &args\n" in text
    assert "    args:\n      <<: *args\n      d: 3.5\n      f: 1e-3\n" in text.replace("'", "")
    assert text.endswith("    args: *args\n")
    assert yaml.safe_load(text)["params"]["long"] == [*range(60)]


def test_a_script_that_ends_with_empty_lines_is_read_as_it_is() -> None:
    recipe = {"stages": {"a": {"command": "true\n\n", "retry": {}}, "b": {"command": "true\n\n\n"}}}

    assert yaml.safe_load(write(recipe, "x.yaml")) == recipe
