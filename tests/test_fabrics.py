import pytest

from autoexp import fabrics
from autoexp.fabrics import LINKS, NODES, threshold_gbps
from autoexp.machine import Network

MEASURED = [
    pytest.param(Network(node="a100"), 8, 1, 235.0, id="A100 SXM"),
    pytest.param(Network(node="h100"), 8, 1, 360.0, id="H100 with rings"),
    pytest.param(Network(node="h100_nvls"), 8, 1, 480.0, id="H100 with NVLink SHARP"),
    pytest.param(Network(node="h200"), 8, 1, 482.0, id="H200"),
    pytest.param(Network(node="b200"), 8, 1, 840.0, id="B200"),
    pytest.param(Network(node="mi300x"), 8, 1, 316.0, id="MI300X"),
    pytest.param(Network(node="h100", link="roce400"), 16, 2, 464.6, id="2x8 H100 over RoCE"),
    pytest.param(Network(node="b200", link="efa400"), 32, 4, 377.3, id="4x8 B200 over EFA"),
    pytest.param(Network(link="slingshot11", links_per_gpu=0.5), 32, 4, 92.9, id="4x8 MI250X over Slingshot"),
    pytest.param(Network(link="efa100"), 2, 2, 12.4, id="two GPUs over EFA"),
    pytest.param(Network(link="hdr200"), 2, 2, 22.5, id="two GPUs over HDR"),
]


@pytest.mark.parametrize(("network", "ranks", "hosts", "healthy"), MEASURED)
def test_what_was_measured_on_healthy_machines_passes_and_half_of_it_does_not(
    network: Network, ranks: int, hosts: int, healthy: float
) -> None:
    threshold = threshold_gbps(network, ranks, hosts)

    assert threshold is not None
    assert healthy / 2 < threshold <= healthy


def test_a_link_is_held_against_what_each_gpu_sends_and_not_against_the_bus_bandwidth() -> None:
    assert threshold_gbps(Network(link="ndr400"), 32, 4) == pytest.approx(0.6 * 50 * 31 / 3)
    assert threshold_gbps(Network(link="ndr400"), 4, 4) == pytest.approx(0.6 * 50)


def test_the_slower_of_node_and_links_is_asked_for() -> None:
    assert threshold_gbps(Network(node="h100", link="ndr400"), 16, 2) == NODES["h100"].pass_gbps
    assert threshold_gbps(Network(node="h100", link="ndr400"), 2, 2) == LINKS["ndr400"].pass_gbps


def test_shares_and_a_threshold_of_ones_own_win() -> None:
    assert threshold_gbps(Network(node="h100", node_share=0.5), 8, 1) == 225
    assert threshold_gbps(Network(link="ndr400", link_share=0.9), 2, 2) == 45
    assert threshold_gbps(Network(node="h100", link="ndr400", threshold_gbps=7.0), 16, 2) == 7.0


@pytest.mark.parametrize(
    ("network", "ranks", "hosts"),
    [
        (Network(node="h100"), 16, 2),
        (Network(link="ndr400"), 8, 1),
        (Network(node="h100"), None, 1),
        (Network(node="h100"), 8, None),
        (Network(node="h100", link="ndr400"), 2, 4),
    ],
)
def test_what_the_network_does_not_tell_is_not_guessed(network: Network, ranks: int | None, hosts: int | None) -> None:
    assert threshold_gbps(network, ranks, hosts) is None


def test_a_machine_that_says_nothing_asks_for_little() -> None:
    assert threshold_gbps(Network(), None, None) == fabrics.DEFAULT_GBPS


def test_every_fabric_has_a_source_and_asks_for_something_possible() -> None:
    for fabric in (*NODES.values(), *LINKS.values()):
        assert fabric.source
        assert 0.5 < fabric.share < 1.1
