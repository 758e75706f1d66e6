import pytest

from autoexp.importers.times import walltime


@pytest.mark.parametrize(
    ("slurm", "ours"),
    [
        ("360", "6h"), ("90", "90m"), ("06:00:00", "6h"), ("00:01:00", "1m"), ("30:00", "30m"), ("1-12", "36h"),
        ("2-00:30", "2910m"), ("${TIME}", "${calc:'str(${TIME}) + \"m\"'}"), ("00:00:20", "1m"),
    ],
)  # fmt: skip
def test_time_limits_become_durations(slurm: str, ours: str) -> None:
    assert walltime(slurm) == ours
