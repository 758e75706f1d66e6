import json

import pytest

from autoexp.codec import decode, encode
from autoexp.machine import Machine, Network, Partition

LARGE = Machine(
    name="large",
    executor="slurm",
    gpus=4,
    network=Network(link="hdr", links_per_gpu=0.5),
    partitions={"gpu": Partition(walltime_s=3600, max_submitted=20)},
    options={"partition": "gpu"},
)


@pytest.mark.parametrize("machine", [Machine(name="plain"), LARGE], ids=["plain", "large"])
def test_a_plan_says_where_its_jobs_run_as_it_was_read(machine: Machine) -> None:
    assert decode(Machine, json.loads(json.dumps(encode(machine)))) == machine


def test_what_a_machine_file_does_not_say_stands_in_no_plan() -> None:
    assert encode(Machine(name="plain")) == {"name": "plain"}
