"""The real cluster, for the tests of its executor."""

from tests.slurm.conftest import running, shim, slurm, ward

__all__ = ["running", "shim", "slurm", "ward"]
