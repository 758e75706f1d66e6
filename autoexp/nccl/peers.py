"""Who is to blame where hosts report failures: the one that reports, or one that it lost?

When a process dies, its neighbours report that their peer is gone, and theirs that they are: the reporters are the ones
that were well. NCCL often turns such an error into an internal or a system error on its way up
(https://github.com/NVIDIA/nccl/issues/795), so only what the GPU itself reports is surely the reporter's own. Otherwise
a host is blamed that two say to have lost, or that one has lost and that failed without having lost anybody, if it is
the only one: launchers end those that are well, too, and then several are gone. Anything else is nobody's fault yet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PROOF = 2
"""Hosts that must have a part in the evidence: with one, it may be the link, or the one that reports."""

_REPORT = re.compile(r"(?:(\S{1,256}?)(?: pid \d+)?: )?Test (?:(timeout)|(NCCL |CUDA |HIP )?failure)\b", re.ASCII)
_WARNING = re.compile(r"(\S{1,256}?):\d+:\d+ \[\d+\] (?:\S+ )?NCCL WARN ", re.ASCII)
_OWN = re.compile(r"unhandled (?:cuda|hip) error", re.ASCII)
_LOST = re.compile(
    r"(?:closed by remote peer|Call to \w+ (?:from|to)|[Cc]onnect(?:ion)? to|completion from peer) (\S{1,256}?)<\d+>"
    r"|remote process exited|remote peer",
    re.ASCII,
)
_ADDRESS = re.compile(r"[\d.]+|.*:.*", re.ASCII)


@dataclass(slots=True, kw_only=True)
class Reports:
    """What each host says of itself and of the others."""

    own: list[str] = field(default_factory=list)
    """Those whose GPU failed, or that waited until the time was up."""
    failed: list[str] = field(default_factory=list)
    """Those that say that NCCL failed, and not why."""
    lost: dict[str, set[str]] = field(default_factory=dict)
    """Those that lost another one, with the names that they give it."""

    def take(self, line: str) -> None:
        """Add what a line reports, if it does."""
        if "Test " not in line and "NCCL WARN" not in line:  # of a trace of many megabytes, nearly every one
            return
        report, warning = _REPORT.search(line), _WARNING.match(line)
        host = (report or warning or [None, None])[1]
        if not host:
            return
        peers = {_short(found[1] or "") for found in _LOST.finditer(line)}
        if report and (report[2] or report[3] in ("CUDA ", "HIP ") or _OWN.search(line)):
            self.own.append(host)
        elif peers - {_short(host)}:  # it can lose a thread of its own
            self.lost.setdefault(host, set()).update(peers - {_short(host), ""})
        elif report and report[3]:
            self.failed.append(host)

    def suspects(self, hosts: int | None = None) -> tuple[str, ...]:
        """Name the hosts to do without, if the evidence is enough for any; `hosts` is how many there are, if known."""
        found = self.own if hosts != 1 else [*self.own, *self.failed, *self.lost]  # alone, it has lost only itself
        if found:
            return tuple(dict.fromkeys(found))
        votes = list(self._votes())
        (one, *others) = dict.fromkeys(host for host, _ in votes) or [""]
        return (one,) if not others and len(set(votes)) >= PROOF else ()

    def _votes(self) -> Iterator[tuple[str, str]]:
        """Yield each host that did not lose anybody, with who says that it failed."""
        yield from ((host, host) for host in self.failed if host not in self.lost)
        yield from ((peer, host) for host, peers in self.lost.items() for peer in sorted(peers - self.lost.keys()))

    def is_unclear(self, hosts: int | None = None) -> bool:
        """Say whether somebody failed, and it cannot be told who."""
        return bool(self.failed or self.lost) and not self.suspects(hosts)


def _short(name: str) -> str:
    """Cut a host's name as the tools do that print it; an address is none."""
    return name if _ADDRESS.fullmatch(name) else name.partition(".")[0]
