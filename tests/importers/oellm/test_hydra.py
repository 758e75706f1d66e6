import logging
import os
import sys
from pathlib import Path

import pytest
from hydra import version
from hydra.core.global_hydra import GlobalHydra

from autoexp.errors import RecipeError
from autoexp.importers import oellm
from autoexp.importers.notes import Notes
from autoexp.importers.oellm.hydra import Tree
from autoexp.places import Places

FILES = {
    "backend/megatron.yaml": "defaults:\n  - megatron: base\n  - _self_\nclass_name: MegatronBackend\n",
    "backend/megatron/base.yaml": "defaults: [base_defaults, _self_]\nlr: 1\nsave: x\n",
    "backend/megatron/base_defaults.yaml": "lr: 0\nclip_grad: 1.0\n",
    "backend/megatron/small.yaml": "defaults: [base]\nnum_layers: 2\nlr: 3\n",
    "slurm/base.yaml": "sbatch: {nodes: 1, time: '01:00:00'}\n",
    "slurm/site.yaml": "defaults: [base, _self_]\nsbatch: {nodes: 4}\n",
    "container/none.yaml": "# nothing\nnull\n",
    "experiments/base.yaml": "# @package _global_\nstage: all\n",
    "experiments/me/one.yaml": (
        "# @package _global_\ndefaults:\n  - ../base\n  - /backend: megatron\n  - /slurm: site\n  - /container: none\n"
        "  - /gone: here\n  - override /backend/megatron: small\n  - _self_\nslurm: {sbatch: {qos: q}}\n"
    ),
}


def composed(folder: Path) -> tuple[Tree, Notes]:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    notes = Notes(Places("one.yaml"))
    tree = Tree(folder / "experiments/me/one.yaml", notes)
    tree.compose()
    return tree, notes


def test_defaults_are_composed_in_their_order(tmp_path: Path) -> None:
    tree, _ = composed(tmp_path)

    assert tree.config == {
        "stage": "all",
        "container": {},
        "backend": {"class_name": "MegatronBackend", "megatron": {"lr": 3, "save": "x", "num_layers": 2}},
        "slurm": {"sbatch": {"nodes": 4, "time": "01:00:00", "qos": "q"}},
    }
    assert tree.usual == {"backend": {"megatron": {"lr": 0, "clip_grad": 1.0}}}
    assert (tree.root, tree.choices["slurm"]) == (tmp_path, "site")


@pytest.mark.parametrize(
    "defaults", ["[/slurm/base, _self_]", "[/gone, /slurm/base.yaml, _self_]", "[/slurm/base@slurm, _self_]"]
)
def test_the_root_of_a_tree_is_found_by_a_file_that_is_named_from_there(tmp_path: Path, defaults: str) -> None:
    composed(tmp_path)
    (tmp_path / "experiments/me/two.yaml").write_text(f"# @package _global_\ndefaults: {defaults}\nstage: x\n")
    notes = Notes(Places("two.yaml"))
    tree = Tree(tmp_path / "experiments/me/two.yaml", notes)
    tree.compose()

    assert tree.root == tmp_path
    assert tree.config["slurm"] == {"sbatch": {"nodes": 1, "time": "01:00:00"}}
    assert not [each for each in notes.warnings if "slurm" in str(each["message"])]
    assert tree.is_group("backend/megatron")


def test_a_choice_is_what_its_files_come_to(tmp_path: Path) -> None:
    tree, _ = composed(tmp_path)

    assert tree.choose("backend/megatron", "small") == {"lr": 3, "save": "x", "num_layers": 2}


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    _, notes = composed(tmp_path)

    assert [each["message"] for each in notes.warnings] == ["gone/here.yaml is not here, and what it says is missing"]


def test_without_defaults_a_file_is_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    tree = Tree(tmp_path / "x.yaml", Notes(Places("x.yaml")))
    tree.compose()

    assert (tree.config, tree.root) == ({"a": 1}, None)


def tree_of(folder: Path, defaults: str, more: str = "") -> tuple[Tree, Notes]:
    (folder / "configs/group").mkdir(parents=True)
    (folder / "configs/group/circle.yaml").write_text("defaults: [other]\n")
    (folder / "configs/group/other.yaml").write_text("defaults: [circle]\n")
    (folder / "configs/group/binary.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "configs/group/odd.yaml").write_text("# @package\na: 1\n")
    (folder / "configs/group/fine.yaml").write_text("a: 1\n")
    (folder / "configs/group/linked.yaml").symlink_to(folder / "secret.yaml")
    (folder / "secret.yaml").write_text("password: x\n")
    file, notes = folder / "configs/one.yaml", Notes(Places("one.yaml"))
    file.write_text(f"defaults: {defaults}\n{more}")
    return Tree(file, notes), notes


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("3", "defaults must be a list"),
        ("[null]", "Unsupported type in defaults"),
        ("[{'': ''}]", "Hydra cannot compose this"),
        ("[{group: circle}]", "group/circle -> group/other -> group/circle"),
        ("[{group: binary}]", "binary.yaml cannot be read"),
        ("[{group: odd}]", "Expected header format"),
        ("[{group: fine}, {override gone: fine}]", "gone"),
        ("[{group: fine}, {group: odd}]", "one.yaml: defaults: Hydra cannot compose this"),
        ('[{group: "a\\0b"}]', "null byte"),
        (f"[{{group: {'x' * 300}}}]", "name too long"),
    ],
)
def test_defaults_that_hydra_does_not_compose_are_refused(tmp_path: Path, defaults: str, said: str) -> None:
    tree, _ = tree_of(tmp_path, defaults)

    with pytest.raises(RecipeError, match=said):
        tree.compose()


def test_defaults_that_multiply_have_an_end(tmp_path: Path) -> None:
    tree, _ = tree_of(tmp_path, "[{group: a0}]")
    for number in range(20):
        text = f"defaults: [a{number + 1}@x, a{number + 1}@y]\n"
        (tmp_path / f"configs/group/a{number}.yaml").write_text(text)

    with pytest.raises(RecipeError, match="the defaults have no end"):
        tree.compose()


@pytest.mark.parametrize("name", ["../../secret", "linked", "fifo", "/etc/passwd"])
def test_what_lies_outside_the_configurations_is_not_read(tmp_path: Path, name: str) -> None:
    tree, notes = tree_of(tmp_path, f"[{{group: {name}}}]")
    os.mkfifo(tmp_path / "configs/group/fifo.yaml")

    tree.compose()

    assert tree.config == {}
    assert "is not here, and what it says is missing" in notes.warnings[0]["message"]


def test_a_group_that_nothing_is_chosen_of_is_told(tmp_path: Path) -> None:
    tree, notes = tree_of(tmp_path, "[{group: '???'}]", "b: 2\n")

    tree.compose()

    assert tree.config == {"b": 2}
    assert notes.warnings[0]["message"].startswith("group: nothing is chosen of it")


def test_a_choice_that_is_not_there_comes_to_nothing(tmp_path: Path) -> None:
    tree, notes = composed(tmp_path)

    assert tree.choose("slurm", "gone") == {}
    assert "slurm/gone.yaml is not here, and what it says is missing" in {each["message"] for each in notes.warnings}


def test_nothing_that_a_tree_says_is_run_or_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (
        "hydra: {searchpath: ['pkg://antigravity'], run: {dir: out}}\n_target_: os.mkdir\npath: made\nx: ${now:%Y}\n"
    )
    tree, _ = tree_of(tmp_path, "[{group: fine}]", asked)
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins/evil.py").write_text("raise SystemExit('loaded')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = (sorted(tmp_path.rglob("*")), logging.root.handlers[:], Path.cwd(), version.getbase())

    tree.compose()

    assert (sorted(tmp_path.rglob("*")), logging.root.handlers[:], Path.cwd(), version.getbase()) == before
    assert (tree.config["_target_"], tree.config["x"], tree.config["group"]) == ("os.mkdir", "${now:%Y}", {"a": 1})
    assert not {"antigravity", "hydra_plugins", "hydra_plugins.evil"} & set(sys.modules)
    assert not GlobalHydra.instance().is_initialized()


def test_only_trees_need_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    monkeypatch.delitem(sys.modules, "autoexp.importers.oellm.composition", raising=False)
    monkeypatch.delattr(oellm, "composition", raising=False)
    (tmp_path / "plain.yaml").write_text("a: 1\n")
    plain, (tree, _) = Tree(tmp_path / "plain.yaml", Notes(Places("plain.yaml"))), tree_of(tmp_path, "[{group: fine}]")

    plain.compose()

    assert plain.config == {"a": 1}
    with pytest.raises(RecipeError, match=r"pip install 'autoexp\[import\]'"):
        tree.compose()
