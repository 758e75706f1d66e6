import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from autoexp import fabrics, machines
from autoexp.errors import AutoexpError, RecipeError
from autoexp.machine import Machine, Network, Partition
from autoexp.places import Places


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder with a machines/ of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "machines").mkdir()
    return tmp_path / "machines"


def read(raw: dict[str, Any]) -> Machine:
    return machines.read("m", raw, Places("m.yaml"))


def test_the_machine_that_came_along_is_this_computer() -> None:
    local = machines.load("local")

    assert (local.name, local.executor, local.python) == ("local", "local", sys.executable)
    assert (local.sweep_s, local.poll_s, local.visibility_s) == (10, 1, 1)
    assert (local.stop_grace_s, local.save_grace_s) == (10, 300)


def test_a_machine_is_what_its_file_says() -> None:
    raw = {
        "description": "d",
        "executor": "slurm",
        "cpus": 8,
        "gpus": 0,
        "python": "/py",
        "observer": "poll",
        "sweep": "1m",
    }

    made = read({**raw, "environment": ["MODULEPATH"], "programs": {"megatron": "/opt/pretrain.py"}})

    assert made == Machine(
        name="m",
        description="d",
        executor="slurm",
        cpus=8,
        gpus=0,
        python="/py",
        environment=("MODULEPATH",),
        programs={"megatron": "/opt/pretrain.py"},
        observer="poll",
        sweep_s=60,
    )


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown key": ({"exectuor": "local"}, "m.yaml: exectuor: unknown key 'exectuor'", "did you mean executor?"),
    "a bare duration": ({"sweep": 10}, "sweep: 10 is no duration", "write it with its unit"),
    "cpus as text": ({"cpus": "8"}, "cpus: '8' is no cpus", "write cpus: a count"),
    "cpus as a boolean": ({"cpus": True}, "cpus: True is no cpus", "write cpus: a count"),
    "gpus below zero": ({"gpus": -1}, "gpus: -1 is no gpus", "write gpus: a count"),
    "an unknown observer": (
        {"observer": "eyes"},
        "'eyes' is no observer",
        "write observer: one of auto, inotify, poll",
    ),
    "one name for a list": ({"environment": "PATH"}, "'PATH' is no environment", "write environment: a list of names"),
    "a launcher in one text": ({"launcher": "srun"}, "'srun' is no launcher", "write launcher: a list of words"),
    "programs as a list": ({"programs": ["a"]}, "['a'] is no programs", "write programs: BACKEND: PROGRAM"),
    "an executor that is no text": ({"executor": 3}, "3 is no executor", "write executor: text"),
    "a rule that is text": ({"identify": "lumi"}, "'lumi' is no identify", "write identify: environment:"),
    "an unknown rule": ({"identify": {"host": "a"}}, "identify.host: unknown key 'host'", "did you mean hostname?"),
    "a rule without values": ({"identify": {"environment": "A"}}, "'A' is no rule", "write {NAME: VALUE}"),
    "a bad pattern": ({"identify": {"hostname": "uan["}}, "'uan[' is no pattern", "write a regex"),
}


@pytest.mark.parametrize(("raw", "what", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_machine_file_that_cannot_be_read_names_the_key(raw: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(raw)

    assert what in caught.value.what
    assert caught.value.why
    assert caught.value.fix.startswith(fix)


def test_an_unknown_machine_lists_those_there_are(here: Path) -> None:
    (here / "lumi.yaml").write_text("executor: local\n")

    with pytest.raises(AutoexpError, match=r"unknown machine 'luni'\n  why: there are .*local, lumi"):
        machines.load("luni")


HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        pytest.param(f"{{hostname: '{HOST}'}}", True, id="by its host"),
        pytest.param("{hostname: '.*'}", True, id="by a pattern"),
        pytest.param(f"{{hostname: '{HOST}x'}}", False, id="another host"),
        pytest.param("{environment: {CLUSTER: lumi}}", True, id="by a variable"),
        pytest.param("{environment: {CLUSTER: jupiter}}", False, id="another value"),
        pytest.param("{environment: {NOT_SET_ANYWHERE: x}}", False, id="a variable that is not set"),
        pytest.param("{environment: {CLUSTER: lumi}, hostname: 'nowhere'}", False, id="all of it has to fit"),
        pytest.param("{environment: {NUMBER: 7}}", True, id="a number is compared as text"),
        pytest.param("{}", False, id="no rule"),
    ],
)
def test_auto_is_the_machine_whose_rule_fits_and_else_this_computer(
    here: Path, monkeypatch: pytest.MonkeyPatch, rule: str, *, found: bool
) -> None:
    monkeypatch.setenv("CLUSTER", "lumi")
    monkeypatch.setenv("NUMBER", "7")
    (here / "aaa.yaml").write_text(f"identify: {rule}\nexecutor: slurm\n")

    assert machines.load("auto").name == ("aaa" if found else "local")


def test_a_broken_machine_file_is_told_when_it_might_be_the_one(here: Path) -> None:
    (here / "aaa.yaml").write_text("executor: local\nidentify: {hostname: '['}\n")

    with pytest.raises(RecipeError, match=r"aaa.yaml:2: identify.hostname: '\[' is no pattern"):
        machines.load("auto")


def test_cores_and_gpus_are_counted_unless_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machines.cpus(Machine(name="m", cpus=3)) == 3
    assert machines.cpus(Machine(name="m")) == len(os.sched_getaffinity(0))
    assert machines.gpus(Machine(name="m", gpus=2)) == ("0", "1")
    assert len(machines.gpus(Machine(name="m"))) == len(list(Path("/dev").glob("nvidia[0-9]*")))


@pytest.mark.parametrize(
    ("visible", "given", "used"),
    [
        ("1,3", None, ("1", "3")),
        ("1,3", 1, ("1",)),
        ("3", 8, ("3",)),
        ("", 8, ()),
        ("-1", None, ()),
        ("0, 2", 2, ("0", "2")),
    ],
)
def test_gpus_that_we_may_not_see_are_not_handed_out(
    monkeypatch: pytest.MonkeyPatch, visible: str, given: int | None, used: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert machines.gpus(Machine(name="m", gpus=given)) == used


def test_a_network_is_named_or_given_in_numbers() -> None:
    made = read({"network": {"node": "h100", "link": "ndr400", "links_per_gpu": 0.5, "link_share": 0.7}})

    assert made.network == Network(node="h100", link="ndr400", links_per_gpu=0.5, link_share=0.7)
    assert read({"network": {"threshold": 300}}).network == Network(threshold_gbps=300)
    assert read({}).network == Network()


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ({"node": "h1000"}, "'h1000' is no node we know"),
        ({"link": "a100"}, "'a100' is no link we know"),
        ({"link": ["ndr400"]}, "is no link we know"),
        ({"treshold": 3}, "unknown key 'treshold'"),
        ({"threshold": 0}, "0 is no threshold"),
        ({"node_share": True}, "True is no node_share"),
        ({"node_share": "0.5"}, "'0.5' is no node_share"),
        ("h100", "'h100' is no network"),
    ],
)
def test_a_network_that_is_none_is_refused(network: object, what: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(what)):
        read({"network": network})


def extending(here: Path, **files: str) -> None:
    for name, text in files.items():
        (here / f"{name}.yaml").write_text(text)


def test_a_machine_that_extends_another_is_that_one_with_its_own_keys_over_it(here: Path) -> None:
    extending(
        here,
        base="executor: slurm\nsweep: 1m\noptions: {mem: 4G, exclusive: true}\nnetwork: {node: a100}\n"
        "partitions: {big: {nodes: 9, walltime: 1d, default: true}, small: {}}\n",
        mine="extends: base\naccount: lab\noptions: {mem: 8G}\nnetwork: {link: hdr200}\n"
        "partitions: {big: {nodes: 3}}\n",
    )

    mine = machines.load("mine")

    assert (mine.name, mine.executor, mine.sweep_s) == ("mine", "slurm", 60)
    assert mine.options == {"partition": "big", "mem": "8G", "exclusive": "", "account": "lab"}
    assert mine.network == Network(node="a100", link="hdr200")
    assert mine.partitions == {"big": Partition(nodes=3, walltime_s=86400), "small": Partition()}


def test_null_takes_away_what_is_extended(here: Path) -> None:
    extending(here, base="partitions: {a: {nodes: 2}, b: {}}\nqos: q\n", mine="extends: base\nqos: null\n"
    "partitions: {a: {nodes: null}, b: null}\n")  # fmt: skip

    mine = machines.load("mine")

    assert (mine.options, mine.partitions) == ({}, {"a": Partition()})


def test_a_machine_of_one_s_own_in_five_lines(here: Path) -> None:
    extending(here, ours="extends: lumi\naccount: project_1\npartition: small-g\nsetup: module load x\nsweep: 5m\n")

    ours = machines.load("ours")

    assert ours.options == {"partition": "small-g", "account": "project_1"}
    assert (ours.setup, ours.sweep_s, ours.observer) == ("module load x", 300, "poll")
    assert ours.partitions == machines.load("lumi").partitions


def test_a_file_may_extend_the_one_that_it_hides(here: Path) -> None:
    extending(here, lumi="extends: lumi\naccount: mine\n")

    assert machines.load("lumi").options == {"partition": "standard-g", "account": "mine"}


@pytest.mark.parametrize(
    ("files", "what", "why"),
    [
        ({"a": "description: x\nextends: b", "b": "extends: a"}, "'a' extends itself", "a -> b -> a"),
        ({"a": "\nextends: a"}, "a.yaml:2: extends: 'a' extends itself", "a -> a"),
        ({"a": "extends: b", "b": "\n\nextends: luna"}, "b.yaml:3: extends: unknown machine 'luna'", "lumi"),
        ({"a": "extends: b", "b": "\ncpus: many"}, "b.yaml:2: cpus: 'many' is no cpus", "a count"),
        ({"a": "extends: b\n\ncpus: many", "b": "cpus: 3"}, "a.yaml:3: cpus: 'many' is no cpus", "a count"),
    ],
    ids=["a circle", "itself", "nobody", "a mistake below", "a mistake above"],
)
def test_what_is_wrong_with_extending_is_told_where_it_stands(
    here: Path, files: dict[str, str], what: str, why: str
) -> None:
    extending(here, **files)

    with pytest.raises(RecipeError) as caught:
        machines.load("a")

    assert what in caught.value.what
    assert why in caught.value.why


def test_of_two_that_fit_the_one_that_extends_the_other_is_meant(here: Path) -> None:
    extending(here, base=f"identify: {{hostname: '{HOST}'}}\n", own="extends: base\naccount: lab\n", zzz="cpus: 3\n")

    assert machines.load("auto").name == "own"


LIMITS: dict[str, tuple[Any, str]] = {
    "a bare walltime": ({"walltime": 3600}, "3600 is no duration"),
    "a size without a unit": ({"memory": 480}, "480 is no size"),
    "nodes below zero": ({"nodes": -1}, "-1 is no count"),
    "gpus as text": ({"gpus_per_node": "8"}, "'8' is no count"),
    "no peak": ({"peak_tflops": 0}, "0 is no number above 0"),
    "a gpu that is a number": ({"gpu": 100}, "100 is no text"),
    "an unknown limit": ({"wall": "1d"}, "unknown key 'wall'"),
    "a default that is no yes": ({"default": "always"}, "'always' is no default"),
    "no mapping": ("1d", "'1d' is no partition"),
}


@pytest.mark.parametrize(("limits", "what"), LIMITS.values(), ids=LIMITS)
def test_a_partition_that_cannot_be_read_is_named(limits: Any, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read({"partitions": {"big": limits}})

    assert "partitions.big" in caught.value.what
    assert what in caught.value.what


def test_there_is_one_default_and_a_partition_named_goes_before_it() -> None:
    both = {"a": {"default": True}, "b": {"default": True}}

    with pytest.raises(RecipeError, match=r"partitions.b.default: there is one default"):
        read({"partitions": both})
    assert read({"partitions": {"a": {"default": True}, "b": {"default": False}}}).options == {"partition": "a"}
    assert read({"partition": "b", "partitions": {"a": {"default": True}}}).options == {"partition": "b"}


SITES = ("ibex", "juwels-booster", "jupiter", "leonardo", "lumi", "marenostrum5", "snellius")


@pytest.mark.parametrize("name", SITES)
def test_a_site_that_came_along_is_slurm_and_looks_instead_of_listening(name: str) -> None:
    site = machines.load(name)

    assert (site.executor, site.observer) == ("slurm", "poll")
    assert site.options["partition"] in site.partitions
    assert site.partitions[site.options["partition"]].gpus_per_node


@pytest.mark.parametrize("name", SITES)
def test_a_site_s_gate_on_two_nodes_asks_for_no_more_than_its_links_carry(name: str) -> None:
    site = machines.load(name)
    gpus = site.partitions[site.options["partition"]].gpus_per_node or 0
    threshold = fabrics.threshold_gbps(site.network, 2 * gpus, 2)

    if site.network.link:
        carried = fabrics.LINKS[site.network.link].line_gbps * site.network.links_per_gpu * gpus
        assert threshold is not None
        assert carried / 2 < threshold < 0.8 * carried
    else:
        assert threshold == fabrics.DEFAULT_GBPS


HOSTS = {
    "uan01": "lumi",
    "login05.leonardo.local": "leonardo",
    "jpbl-s01-02": "jupiter",
    "jpbo-024-02": "jupiter",
    "int6.local.snellius.surf.nl": "snellius",
    "gpu213-10.ibex.kaust.edu.sa": "ibex",
    "login510-27": "ibex",
    "login509-02-l": "ibex",
    "uan01.elsewhere.org": "local",
    "nid001234": "local",
    "login1": "local",
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("host", "name"), HOSTS.items())
def test_a_site_is_known_by_its_hosts(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr("autoexp.hosts.hostname", lambda: host)

    assert machines.load("auto").name == name


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("SYSTEMNAME", "juwelsbooster", "juwels-booster"),
        ("SYSTEMNAME", "juwels", "local"),
        ("BSC_MACHINE", "mn5", "marenostrum5"),
    ],
)
def test_a_site_is_known_by_its_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert machines.load("auto").name == name


@pytest.mark.usefixtures("here")
def test_an_sbatch_on_the_path_makes_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert machines.load("auto").name == "local"
