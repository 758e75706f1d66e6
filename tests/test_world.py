import pytest

from autoexp.model import JobSpec
from autoexp.world import checkpoint_name, job_dir, result_of

JOB = JobSpec(id="train-lr1", study="s", stage="train", values={"lr": 1}, params={"a": 2}, args={"b": 3})


def test_a_job_stands_in_its_study() -> None:
    assert job_dir("/root", "s", "train-lr1") == "/root/s/jobs/train-lr1"


@pytest.mark.parametrize(
    ("iteration", "name"), [(0, "iter_0000000"), (200, "iter_0000200"), (12345678, "iter_12345678")]
)
def test_a_checkpoint_is_named_in_seven_digits_or_more(iteration: int, name: str) -> None:
    assert checkpoint_name(iteration) == name


def test_a_result_is_what_others_can_refer_to() -> None:
    home = "/root/s/jobs/train-lr1"

    assert result_of(JOB, "/root") == {
        "job": "train-lr1",
        "stage": "train",
        "study": "s",
        "dir": home,
        "output": home,
        "checkpoints": f"{home}/checkpoints",
        "values": {"lr": 1},
        "params": {"a": 2},
        "args": {"b": 3},
    }


def test_a_job_that_appeared_for_a_checkpoint_has_its_iteration() -> None:
    job = JobSpec(id="convert-x@0000005", study="s", stage="convert", iteration=5, output="hf")

    assert result_of(job, "/r")["iteration"] == 5
    assert result_of(job, "/r")["output"] == "/r/s/jobs/convert-x@0000005/hf"
