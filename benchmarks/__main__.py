"""Print every figure that is wanted of autoexp, as this machine has it, with what the machine needs itself beside it.

make bench                             all of them
python -m benchmarks reactions logs    some
"""

import sys
from importlib import import_module

from benchmarks.figures import Figure, table

PARTS = ("reactions", "scale", "short_jobs", "logs", "plans")


def main(asked: list[str]) -> int:
    """Measure, print as they come, and all of them as a table; 1 if one is missed."""
    found: list[Figure] = []
    for name in asked or PARTS:
        for figure in import_module(f"benchmarks.{name}").measure():
            found.append(figure)
            print("  ".join(figure.cells()), flush=True)
    print("\n".join(("", *table(found))))
    return 0 if all(figure.is_met for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
