from typing import Any

import pytest

from autoexp import partitions
from autoexp.machine import Machine, Partition
from autoexp.model import Resources

GIB = 1 << 30
DAY = 86400
SMALL = Partition(walltime_s=3 * DAY, nodes=4, gpus_per_node=8, cpus=63, memory_bytes=480 * GIB)
LONG = Partition(walltime_s=14 * DAY, nodes=4, gpus_per_node=0)
MACHINE = Machine(
    name="m",
    executor="slurm",
    options={"partition": "small"},
    partitions={"small": SMALL, "long": LONG, "any": Partition()},
)


def asks(partition: str = "", **resources: Any) -> partitions.Excess | None:
    options = {"partition": partition} if partition else {}
    return partitions.excess(MACHINE, Resources(**resources, options=options))


TOO_MUCH = [
    ("walltime", {"walltime_s": 3 * DAY + 1}, "walltime: 3d1s", "allows 3d", "ask for at most 3d, or"),
    ("nodes", {"nodes": 5}, "nodes: 5", "allows 4", "ask for at most 4, or"),
    ("gpus_per_node", {"gpus_per_node": 9}, "gpus_per_node: 9", "allows 8", "ask for at most 8, or"),
    ("cpus", {"cpus": 64}, "cpus: 64", "allows 63", "ask for at most 63, or"),
    ("memory", {"memory_bytes": 481 * GIB}, "memory: 481GiB", "allows 480GiB", "ask for at most 480GiB, or"),
]


@pytest.mark.parametrize(("key", "resources", "asked", "why", "fix"), TOO_MUCH, ids=[row[0] for row in TOO_MUCH])
def test_more_than_the_machine_s_partition_allows_is_named_by_its_key(
    key: str, resources: dict[str, Any], asked: str, why: str, fix: str
) -> None:
    found = asks(**resources)

    assert found is not None
    assert (found.key, found.asked) == (key, asked)
    assert found.why == f"partition small of machine m {why}"
    assert found.fix.startswith(fix)


def test_as_much_as_is_allowed_is_allowed() -> None:
    assert asks(walltime_s=3 * DAY, nodes=4, gpus_per_node=8, cpus=63, memory_bytes=480 * GIB) is None
    assert asks("any", walltime_s=99 * DAY, nodes=9999, cpus=999) is None


def test_the_partition_that_a_job_names_counts_and_others_that_would_do_are_told() -> None:
    assert asks("long", walltime_s=5 * DAY) is None
    found = asks("long", gpus_per_node=1)

    assert found is not None
    assert found.why == "partition long of machine m allows 0"
    assert found.fix == "leave gpus_per_node out, or name another partition: small, any"


def test_where_several_partitions_are_named_one_that_fits_is_enough() -> None:
    assert asks("small,long", walltime_s=5 * DAY) is None
    assert asks("small, long", nodes=5) is not None


def test_what_the_machine_file_does_not_say_is_the_scheduler_s() -> None:
    assert asks("unheard_of", nodes=9999) is None
    assert asks("small,unheard_of", nodes=9999) is None
    assert (
        partitions.excess(Machine(name="m", executor="slurm", partitions={"small": SMALL}), Resources(nodes=9999))
        is None
    )
    assert partitions.excess(Machine(name="m", executor="slurm"), Resources(nodes=9999)) is None


def test_a_partition_that_is_none_is_refused_where_the_file_lists_them_all() -> None:
    machine = Machine(name="m", executor="slurm", partitions={"a": Partition(), "b": Partition()}, all_partitions=True)

    found = partitions.excess(machine, Resources(options={"partition": "c"}))

    assert found is not None
    assert (found.key, found.asked, found.why) == ("partition", "the partition c", "machine m has a, b")
    assert partitions.excess(machine, Resources(options={"partition": "b"})) is None
    assert partitions.excess(machine, Resources()) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (90, "1m30s"), (7200, "2h"), (2 * DAY + 60, "2d1m")]
)
def test_a_duration_is_spelled_as_recipes_write_it(seconds: int, text: str) -> None:
    assert partitions.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(GIB, "1GiB"), (500 << 20, "500MiB"), ((500 << 20) + 1, "501MiB")])
def test_a_size_is_spelled_as_recipes_write_it(count: int, text: str) -> None:
    assert partitions.size(count) == text


def test_a_peak_is_that_of_the_job_s_partition() -> None:
    machine = Machine(
        name="m",
        options={"partition": "a"},
        partitions={"a": Partition(peak_tflops=312.0), "h": Partition(peak_tflops=989.0), "x": Partition()},
    )

    def peak(partition: str = "") -> float | None:
        options = {"partition": partition} if partition else {}
        return partitions.peak_tflops(machine, Resources(options=options))

    assert [peak(), peak("h"), peak("x"), peak("unknown"), peak("a,h")] == [312.0, 989.0, None, None, None]
    assert partitions.peak_tflops(Machine(name="m"), Resources()) is None


def test_one_computer_has_no_second_node_and_the_gpus_that_its_file_gives() -> None:
    machine = Machine(name="here", gpus=2)

    assert partitions.excess(machine, Resources(gpus_per_node=2, cpus=999)) is None
    assert partitions.excess(Machine(name="here"), Resources(gpus_per_node=8)) is None
    found = partitions.excess(machine, Resources(gpus_per_node=3))
    assert found is not None
    assert (found.key, found.asked) == ("gpus_per_node", "gpus_per_node: 3")
    assert found.why == "machine here is one computer, and allows 2"
    found = partitions.excess(machine, Resources(nodes=2))
    assert found is not None
    assert (found.asked, found.why) == ("nodes: 2", "machine here is one computer, and allows 1")
