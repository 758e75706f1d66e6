from autoexp.model import JobSpec, Template
from autoexp.outline import attach


def test_each_job_gets_the_templates_that_stand_for_it_and_loses_others() -> None:
    mine = Template(id="c-a", stage="c", parent="a", kind="checkpoint")
    other = Template(id="d-c-a", stage="d", parent="c-a", kind="job")
    jobs = [JobSpec(id="a", study="s", stage="t"), JobSpec(id="b", study="s", stage="t", children=(mine,))]

    assert [job.children for job in attach(jobs, [mine, other])] == [(mine,), ()]
