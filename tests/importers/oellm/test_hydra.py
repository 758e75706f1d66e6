from pathlib import Path

import pytest

from autoexp.errors import RecipeError
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


def tree_of(folder: Path, defaults: str) -> tuple[Tree, Notes]:
    (folder / "configs/group").mkdir(parents=True)
    (folder / "configs/group/circle.yaml").write_text("defaults: [circle]\n")
    (folder / "configs/group/binary.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "secret.yaml").write_text("password: x\n")
    file, notes = folder / "configs/one.yaml", Notes(Places("one.yaml"))
    file.write_text(f"defaults: {defaults}\n")
    return Tree(file, notes), notes


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("3", "these are no defaults"),
        ("[null]", "these are no defaults"),
        ("[{group: circle}]", "circle.yaml is made of itself"),
        ("[{group: binary}]", "binary.yaml cannot be read"),
    ],
)
def test_defaults_that_cannot_be_composed_are_refused(tmp_path: Path, defaults: str, said: str) -> None:
    tree, _ = tree_of(tmp_path, defaults)

    with pytest.raises(RecipeError, match=said):
        tree.compose()


def test_what_lies_outside_the_configurations_is_not_read(tmp_path: Path) -> None:
    tree, notes = tree_of(tmp_path, "[{group: ../../secret}, {'': ''}]")

    tree.compose()

    assert tree.config == {}
    assert "secret.yaml is not here" in notes.warnings[0]["message"]
