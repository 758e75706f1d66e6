from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autoexp.forecast.site import Site
from autoexp.machine import Machine, Partition
from autoexp.model import Job, JobSpec, Resources

LOCAL = Machine(name="here")
CLUSTER = Machine(name="cluster", executor="slurm")


@pytest.fixture
def job(make_spec: Callable[..., JobSpec]) -> Callable[..., Job]:
    def make(name: str, priority: int = 0, **resources: Any) -> Job:
        return Job(spec=make_spec(name, priority=priority, resources=Resources(**resources)))

    return make


Make = Callable[..., Job]


def tended(site: Site) -> tuple[str, str]:
    """Say who is submitted now, and who begins."""
    return "".join(job.id for job in site.send()), "".join(job.id for job in site.begin())


def test_a_computer_runs_what_its_cores_and_gpus_hold(job: Make) -> None:
    site = Site(LOCAL, {"cpus": 4.0, "gpus": 1.0})
    for each in (job("a", cpus=2, gpus_per_node=1), job("b", gpus_per_node=1), job("c", cpus=1), job("d", cpus=2)):
        site.submit(each)

    assert tended(site) == ("abcd", "ac")
    site.leave("a")
    assert tended(site) == ("", "bd")


def test_more_cores_than_there_are_means_all_of_them(job: Make) -> None:
    site = Site(LOCAL, {"cpus": 2.0, "gpus": 0.0})
    site.submit(job("a", cpus=64))

    assert tended(site) == ("a", "a")


def test_a_cluster_without_a_number_of_nodes_has_all_that_are_asked_for(job: Make) -> None:
    site = Site(CLUSTER, {})
    for name in "abc":
        site.submit(job(name, nodes=1000))

    assert tended(site) == ("abc", "abc")
    site.leave("a")
    site.submit(job("d", nodes=2000))
    assert tended(site) == ("d", "d")


def test_first_come_first_served(job: Make) -> None:
    site = Site(CLUSTER, {"nodes": 4.0})
    for name, nodes in (("a", 3), ("b", 2), ("c", 1)):
        site.submit(job(name, nodes=nodes))

    assert tended(site) == ("abc", "a")
    site.leave("a")
    assert tended(site) == ("", "bc")


def test_jobs_share_a_node_where_the_machine_file_says_what_it_has(job: Make) -> None:
    machine = replace(CLUSTER, options={"partition": "gpu"}, partitions={"gpu": Partition(gpus_per_node=4, cpus=32)})
    site = Site(machine, {"nodes": 1.0})
    for name in "abc":
        site.submit(job(name, gpus_per_node=2))

    assert tended(site) == ("abc", "ab")


def test_what_may_not_be_submitted_waits_its_turn(job: Make) -> None:
    site = Site(replace(CLUSTER, max_submitted=2), {})
    for name, priority in (("a", 0), ("b", 0), ("c", 1), ("d", 1)):
        site.submit(job(name, priority))

    assert tended(site) == ("cd", "cd")
    site.leave("c")
    assert tended(site) == ("a", "a")


def test_a_full_partition_holds_up_no_other(job: Make) -> None:
    site = Site(replace(CLUSTER, partitions={"small": Partition(max_submitted=1)}), {})
    for name, partition in (("a", "small"), ("b", "small"), ("c", "big")):
        site.submit(job(name, options={"partition": partition}))

    assert tended(site) == ("ac", "ac")


def test_what_is_withdrawn_leaves_its_place_to_others(job: Make) -> None:
    site = Site(replace(CLUSTER, max_submitted=2), {"nodes": 1.0})
    for name in "abcd":
        site.submit(job(name))
    assert tended(site) == ("ab", "a")

    site.withdraw("b")
    site.withdraw("c")

    assert tended(site) == ("d", "")


def test_what_can_never_run_is_refused(job: Make) -> None:
    assert "is one computer" in Site(LOCAL, {"cpus": 2.0, "gpus": 0.0}).refusal(job("a", nodes=2))
    assert "2 gpus" in Site(LOCAL, {"cpus": 2.0, "gpus": 0.0}).refusal(job("a", gpus_per_node=2))
    assert "has 4" in Site(CLUSTER, {"nodes": 4.0}).refusal(job("a", nodes=5))
    assert Site(CLUSTER, {}).refusal(job("a", nodes=5)) == ""
