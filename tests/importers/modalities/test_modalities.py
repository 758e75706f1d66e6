"""What of Modalities is mended and told, and jobs that run without it."""

import os
import sys
from typing import TYPE_CHECKING

import yaml

from tests.importers.conftest import Import

if TYPE_CHECKING:
    from tests.conftest import Room


def test_what_modalities_ignores_or_overwrites_is_told(imported: Import) -> None:
    text = (
        "sweep: {a: [1, 1, 2], b: [1, 2]}\npaired: [[a, b]]\nx: ['${sweep.a}', '${sweep.gone}']\ndata_path: d/x.pbin\n"
    )
    made = imported(text, dialect="modalities")

    assert len(made.plan.jobs) == 4
    for said in (
        "sweep.a: values that are there twice",
        "nothing refers to ${sweep.b}",
        "${sweep.gone} is referred to, and not swept",
        "paired does nothing in Modalities",
        "are not there: d/x.pbin",
        "a run was done when its results",
    ):
        assert said in made.told


RUN = """\
sweep:
  a: {b: [1e-4, 2], c: "${settings.name}"}
  shape: [{n: 1, heads: [1, 2]}, {n: yes-no, heads: null}]
settings: {name: x, id: "${modalities_env:experiment_id}", eps: 1e-5, from: "${sweep.shape.n}${sweep.a}"}
"""
TORCHRUN = 'echo "$@" > "$(dirname "$6")/called"\n'


def test_a_job_gives_modalities_its_own_values(room: "Room") -> None:
    room.write("bin/python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n').chmod(0o755)
    room.write("bin/modalities", "#!/bin/sh\n").chmod(0o755)
    room.write("bin/torchrun", f"#!/bin/sh\n{TORCHRUN}").chmod(0o755)
    room.variables["PATH"] = f"{room.home}/bin:{os.environ['PATH']}"
    room.machine(gpus=2, sweep="1s")
    room.write("old.yaml", RUN)

    room.run("import", "modalities", "old.yaml", "--out", "new.yaml")
    ran = room.run("run", "new.yaml", "gpus_per_node=2", "--machine", "bench")

    assert ran.returncode == 0, ran.stderr + ran.stdout
    written = [yaml.safe_load(path.read_text()) for path in room.root.glob("old/jobs/*/run1/config.yaml")]
    found = sorted((config["sweep"] for config in written), key=str)
    heads = [{"n": 1, "heads": [1, 2]}, {"n": "yes-no", "heads": None}]
    expected = [{"a": {"b": b, "c": "${settings.name}"}, "shape": shape} for b in (1e-4, 2) for shape in heads]
    assert found == sorted(expected, key=str)
    assert {config["settings"]["id"] for config in written} == {"${modalities_env:experiment_id}"}
    (called, *_) = room.root.glob("old/jobs/*/run1/called")
    assert called.read_text().startswith(f"--standalone --nproc-per-node=2 {room.home}/bin/modalities run --config")
