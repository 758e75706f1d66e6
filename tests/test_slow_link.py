"""A fabric for real: nodes are network namespaces, joined by a bridge, and one link is slowed by the kernel.

What finds slow nodes is given measurements of our own all-reduce, between gloo processes.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest

from autoexp import gates, localisation, nccl
from autoexp.machine import Network

NODES = ("a", "b", "c", "d")
SLOW = "c"
THRESHOLD_GBPS = 0.03
RATE = "80mbit"
"""10 MB/s, a third of what is asked for; without it the kernel moves hundreds, however busy the computer is."""
SIZE = str(2 << 20)
MARK = f"ae{os.getpid() % 10000}"


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True)


@pytest.fixture
def fabric() -> Iterator[Mapping[str, str]]:
    """Join the nodes; return the address of each."""
    addresses = {node: f"10.231.7.{number}" for number, node in enumerate(NODES, 1)}
    ip("link", "add", f"{MARK}br", "type", "bridge")
    try:
        ip("link", "set", f"{MARK}br", "up")
        for node, address in addresses.items():
            _join(node, address)
        shape = ("tbf", "rate", RATE, "burst", "64kb", "latency", "200ms")
        subprocess.run(("tc", "qdisc", "add", "dev", f"{MARK}{SLOW}", "root", *shape), check=True)
        yield addresses
    finally:
        for node in NODES:
            subprocess.run(("ip", "netns", "del", f"{MARK}{node}"), check=False, capture_output=True)
            shutil.rmtree(Path("/etc/netns", f"{MARK}{node}"), ignore_errors=True)
        subprocess.run(("ip", "link", "del", f"{MARK}br"), check=False)


def _join(node: str, address: str) -> None:
    space, outside = f"{MARK}{node}", f"{MARK}{node}"
    ip("netns", "add", space)
    ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
    ip("link", "set", outside, "master", f"{MARK}br", "up")
    for words in (
        ("addr", "add", f"{address}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
    ):
        ip("-n", space, *words)
    hosts = Path("/etc/netns", space, "hosts")  # what /etc/hosts is inside
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")


def start(group: localisation.Group, rank: int, addresses: Mapping[str, str], port: int) -> "subprocess.Popen[str]":
    """Start one node's process of a measurement."""
    meet = {"MASTER_ADDR": addresses[group[0]], "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "eth0"}
    place = {"RANK": str(rank), "WORLD_SIZE": str(len(group)), "LOCAL_RANK": "0", "OMP_NUM_THREADS": "1"}
    measure = ("-m", "autoexp.trainers.allreduce", "-b", SIZE, "-e", SIZE, "-n", "3", "-w", "1")
    return subprocess.Popen(
        ("ip", "netns", "exec", f"{MARK}{group[rank]}", sys.executable, *measure),
        env={**os.environ, **meet, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_fast(group: localisation.Group, addresses: Mapping[str, str], port: int) -> bool | None:
    """Measure some nodes together; one process alone has nobody to talk to."""
    if len(group) == 1:
        return True
    programs = [start(group, rank, addresses, port) for rank in range(len(group))]
    printed = [program.communicate(timeout=120)[0] for program in programs]
    asked = nccl.Asked(threshold_gbps=THRESHOLD_GBPS, ranks=len(group))
    verdict = gates.judge(printed[0], Network(), asked)
    return {nccl.Code.PASS: True, nccl.Code.SLOW: False}.get(verdict.code)


def test_the_node_behind_a_slow_link_is_found_among_processes_that_really_talk(fabric: Mapping[str, str]) -> None:
    search, port = localisation.locate(NODES), 29500
    wave = next(search)
    try:
        while True:
            with ThreadPoolExecutor(len(wave)) as pool:
                measured = list(pool.map(is_fast, wave, repeat(fabric), repeat(port)))
            wave, port = search.send(dict(zip(wave, measured, strict=True))), port + 1
    except StopIteration as done:
        found: localisation.Findings = done.value

    assert (found.slow, found.links, found.unclear) == ((SLOW,), (), ())
    assert set(found.good) == set(NODES) - {SLOW}
