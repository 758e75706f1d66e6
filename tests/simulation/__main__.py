"""Play many seeds on all cores: python -m tests.simulation --seeds 10000."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from tempfile import TemporaryDirectory

from tests.simulation import campaign

CHUNK = 20
TOLD_EVERY = 500


def play(first: int, last: int) -> tuple[int, dict[int, list[str]]]:
    """Play some seeds; return how many, and what went wrong in which."""
    with TemporaryDirectory(dir=campaign.memory_disk()) as home:
        faults = {seed: campaign.faults_of(seed, home) for seed in range(first, last)}
    return last - first, {seed: found for seed, found in faults.items() if found}


def main() -> int:
    """Print what went wrong, seed by seed, and how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    asked = parser.parse_args()
    began, played, broken, last = time.monotonic(), 0, 0, asked.first + asked.seeds
    firsts = range(asked.first, last, CHUNK)
    with ProcessPoolExecutor() as pool:
        for count, faults in pool.map(play, firsts, [min(first + CHUNK, last) for first in firsts]):
            played, broken = played + count, broken + len(faults)
            for seed, found in faults.items():
                print(campaign.told(seed, found))
            if played % TOLD_EVERY == 0:
                print(f"{played} seeds, {broken} with faults so far", flush=True)
    print(f"{played} seeds, {broken} with faults, {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
