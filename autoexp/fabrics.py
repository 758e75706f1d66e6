"""How fast an all-reduce has to be: a share of what the hardware could carry, by the names of what carries it.

Bandwidths are GB/s (10^9 bytes a second) for each GPU, in one direction. Inside a node the bus bandwidth itself is held
against the line rate. Across k nodes, each GPU of n sends busbw * (k - 1) / (n - 1) over its own link: that, and not
the bus bandwidth, is held against the link (https://github.com/stas00/ml-engineering, network/README.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autoexp.machine import Network

DEFAULT_GBPS = 5.0
"""Below this even one 100 Gb/s link is broken; it is for machines that say nothing of their network."""

_AZURE = "threshold of https://github.com/Azure/azurehpc-health-checks"
_STAS = "measured, https://github.com/stas00/ml-engineering (network/benchmarks)"


@dataclass(frozen=True, slots=True)
class Fabric:
    """A kind of network: its line rate, and the share of it that a healthy one reaches with something to spare."""

    line_gbps: float
    share: float
    source: str

    @property
    def pass_gbps(self) -> float:
        """What has to be reached."""
        return self.line_gbps * self.share


NODES: Mapping[str, Fabric] = {
    "v100_nvlink": Fabric(150, 0.73, f"110, {_AZURE} (8 GPUs, NDv2)"),
    "a100_pcie": Fabric(32, 0.78, f"25, {_AZURE} (4 GPUs, NC96ads)"),
    "a100_pair": Fabric(300, 0.64, f"193, {_AZURE} (2 GPUs, NC48ads)"),
    "a100": Fabric(300, 0.76, f"228, {_AZURE}; a healthy one reaches 235"),
    "h100": Fabric(450, 0.75, f"rings; 360 to 367 {_STAS}"),
    "h100_nvls": Fabric(450, 1.02, f"460, {_AZURE}; NVLink SHARP reaches 480"),
    "h100_nvl": Fabric(300, 0.69, f"208, {_AZURE} (a pair)"),
    "h200": Fabric(450, 0.95, f"431, {_AZURE}; NVLink SHARP reaches 482"),
    "b200": Fabric(900, 0.75, f"about 840 at 16 GiB {_STAS}"),
    "mi300x": Fabric(448, 0.70, f"314, {_AZURE}"),
}
"""What joins the GPUs of one node."""

LINKS: Mapping[str, Fabric] = {
    "efa100": Fabric(12.5, 0.6, "12.4 measured over 100 Gb/s EFA with one GPU a node"),
    "slingshot11": Fabric(
        25, 0.6, "https://github.com/ROCm/rccl/issues/1490: 92.9 with 8 GPUs and 4 NICs in each of 4 nodes"
    ),
    "hdr200": Fabric(25, 0.6, f"18 of 25 over a loop of one port, {_AZURE}"),
    "ndr400": Fabric(50, 0.6, f"ib_write_bw 380 Gb/s, {_AZURE}"),
    "roce400": Fabric(50, 0.6, "464.6 measured by Oracle with 2 nodes of 8 H100"),
    "efa400": Fabric(50, 0.6, f"377 with 4 nodes of 8 B200, which is 36.5 of 50; {_STAS}"),
}
"""What joins nodes; the line rate is that of one NIC."""


def threshold_gbps(network: Network, ranks: int | None, hosts: int | None) -> float | None:
    """Return the bus bandwidth that an all-reduce over so many ranks on so many hosts has to reach.

    None where the machine's network, together with the two counts, does not say.
    """
    if network.threshold_gbps is not None:
        return network.threshold_gbps
    if not network.node and not network.link:
        return DEFAULT_GBPS
    if not ranks or not hosts or hosts > ranks:
        return None
    limits = []
    if ranks > hosts and network.node:
        limits.append(_share(NODES[network.node], network.node_share))
    if hosts > 1 and network.link:
        rate = _share(LINKS[network.link], network.link_share) * network.links_per_gpu
        limits.append(rate * (ranks - 1) / (hosts - 1))
    is_missing = not network.link if hosts > 1 else not network.node
    return None if is_missing else min(limits, default=None)


def _share(fabric: Fabric, share: float | None) -> float:
    return fabric.line_gbps * (fabric.share if share is None else share)
