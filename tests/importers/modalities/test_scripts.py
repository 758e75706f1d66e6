"""World sizes, GPUs and working folders, from the scripts around a sweep."""

from tests.importers.conftest import Import

NESTED = (
    "sweep: {model: {n_layer: [2, 4], n_embd: [64, 128]}}\nn: ['${sweep.model.n_layer}', '${sweep.model.n_embd}']\n"
)
PREPARE = """\
modalities benchmark prepare_sweep_configs \\
  --sweep_config_path ../study.yaml --output_dir ../experiments --world_sizes "2,4,8"
"""


def test_world_sizes_are_an_axis_that_nodes_and_gpus_follow(imported: Import) -> None:
    made = imported(NESTED, dialect="modalities", **{"scripts/make__sh": PREPARE, "scripts/j__sh": "--gres=gpu:a100:2"})

    assert made.counts == {"train": 12}
    asked = {(job.params["world"], job.resources.nodes, job.resources.gpus_per_node) for job in made.plan.jobs}
    assert asked == {(2, 1, 2), (4, 2, 2), (8, 4, 2)}
    assert "unsure" not in made.told


def test_without_a_script_the_world_is_modalities_own(imported: Import) -> None:
    made = imported(NESTED, dialect="modalities")

    assert {job.params["world"] for job in made.plan.jobs} == {2}
    assert "world sizes stand on Modalities' command line" in made.told
    assert "nobody says how many GPUs" in made.told


def test_relative_paths_begin_where_they_are(imported: Import) -> None:
    text = f"{NESTED}paths: {{train_dataset_path: ../data/x.pbin}}\n"
    made = imported(text, dialect="modalities", **{"data/x.pbin": "", "scripts/make__sh": PREPARE})

    assert made.params("workdir")[0][0].endswith("/scripts")
    assert "not there" not in made.told
