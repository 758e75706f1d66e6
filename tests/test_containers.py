import shlex
from typing import TYPE_CHECKING

import pytest

from autoexp import containers
from autoexp.containers import Container
from autoexp.model import Resources
from autoexp.policies import PolicyError

if TYPE_CHECKING:
    from tests.conftest import Room


def test_an_image_alone_is_entered_by_apptainer_with_the_root_bound() -> None:
    container = containers.read("/images/train.sif", {})

    assert container == Container(image="/images/train.sif")
    assert container.words(Resources(), "/exp") == ("apptainer", "exec", "--bind=/exp", "/images/train.sif")


def test_gpus_are_let_in_unless_the_site_says_how() -> None:
    here = Resources(gpus_per_node=8)

    assert "--nv" in Container(image="i").words(here, "/exp")
    assert "--nv" not in Container(image="i", options=("--rocm",)).words(here, "/exp")


def test_a_stage_adds_to_what_the_machine_says_and_chooses_over_it() -> None:
    usual = {"runtime": "singularity", "bind": ["/scratch"], "options": ["--rocm"], "python": "/opt/py"}

    container = containers.read({"image": "i", "bind": ["/data:/data"], "runtime": "apptainer"}, usual)

    assert container == Container(
        image="i", runtime="apptainer", bind=("/scratch", "/data:/data"), options=("--rocm",), python="/opt/py"
    )


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("", "image"),
        (7, "image"),
        ({"bind": ["/a"]}, "image"),
        ({"image": "i", "bind": "/a"}, "bind"),
        ({"image": "i", "options": [1]}, "options"),
        ({"image": "i", "runtime": "docker"}, "runtime"),
        ({"image": "i", "python": 3}, "python"),
        ({"image": "i", "volumes": []}, "volumes"),
    ],
)
def test_a_container_that_cannot_be_read_names_its_key(raw: object, key: str) -> None:
    with pytest.raises(PolicyError) as caught:
        containers.read(raw, {})

    assert caught.value.path == (key,)
    assert caught.value.fix


APPTAINER = """#!/bin/bash
# enters an image that is a folder: its bin/ comes first
printf '%s\\n' "$@" > "$AUTOEXP_DIR/entered"
shift
while [[ $1 == --* ]]; do shift; done
image=$1; shift
PATH="$image/bin:$PATH" exec "$@"
"""
RECIPE = """
study: demo
machine: bench
params: {text: "it's $HOME"}
stages:
  listed: {command: [inside, "${text}"], container: {image: IMAGE, bind: [/data]}}
  script: {command: 'inside ${text} | cat', container: IMAGE}
  each: {command: [inside, "${text}"], each: {job: listed}, container: IMAGE, resources: {gpus_per_node: 1}}
"""


def test_a_program_runs_in_its_container_with_its_words_as_they_are(room: "Room") -> None:
    image = room.home / "an image"
    for path, text in {"bin/apptainer": APPTAINER, "an image/bin/inside": '#!/bin/sh\necho "inside: $1"\n'}.items():
        room.write(path, text).chmod(0o755)
    room.machine(environment="[PATH]", gpus=1, setup=shlex.quote(f'export PATH="{room.home}/bin:$PATH"'))
    planned = room.run("plan", room.write("demo.yaml", RECIPE.replace("IMAGE", f'"{image}"')))
    assert planned.returncode == 0, planned.stderr

    assert room.run("watch", room.root, "--until-done").returncode == 0, room.said()

    for job in ("listed", "script", "each-listed"):
        assert (room.attempt_dir(job) / "output.log").read_text() == "inside: it's $HOME\n"
        entered = (room.job_dir(job) / "entered").read_text().splitlines()
        assert entered[0] == "exec"
        assert f"--bind={room.root}" in entered
        assert ("--bind=/data" in entered, "--nv" in entered) == (job == "listed", job == "each-listed")


def test_a_trainer_on_several_nodes_enters_the_container_on_each(room: "Room") -> None:
    recipe = """
study: demo
machine: bench
params: {program: pretrain_gpt.py}
stages:
  one:
    backend: megatron
    args: {train-iters: 10}
    container: {image: train.sif, python: python}
    resources: {nodes: 2, processes_per_node: 4}
"""
    assert room.run("plan", room.write("demo.yaml", recipe)).returncode == 0

    script = (room.job_dir("one") / "run.sh").read_text()
    line = next(line for line in script.splitlines() if "exec srun" in line)
    assert "srun" in line
    words = shlex.split(script[script.index("exec srun") :].partition("}")[0].replace("\\\n", " "))
    assert words[words.index("apptainer") : words.index("torch.distributed.run")] == [
        "apptainer", "exec", f"--bind={room.root}", "train.sif", "python", "-m",
    ]  # fmt: skip


def test_a_hook_runs_in_no_container(room: "Room") -> None:
    recipe = "study: demo\nmachine: bench\nstages: {one: {hook: evaluate, container: i.sif}}\n"

    refused = room.run("plan", room.write("demo.yaml", recipe))

    assert refused.returncode == 1
    assert "a hook runs in no container" in refused.stderr


def test_a_machine_file_with_a_wrong_container_names_the_key(room: "Room") -> None:
    room.machine(container="{runtime: docker}")

    refused = room.run("plan", room.write("demo.yaml", "study: d\nmachine: bench\nstages: {one: {command: [a]}}\n"))

    assert refused.returncode == 1
    assert "container.runtime: 'docker' is no runtime" in refused.stderr
