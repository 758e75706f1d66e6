from autoexp.forecast import summary
from tests.forecast.conftest import TRAINING, Foresee

LADDER = f"{TRAINING}\nscore: {{each: {{checkpoint: train}}, command: [x]}}"


def test_a_stage_is_summed_up(foresee: Foresee) -> None:
    train, score = summary.as_json(foresee(LADDER, steps_s={"": 10.0}))["stages"]

    assert train | {"timeline": ""} == {
        "stage": "train",
        "jobs": 1,
        "succeeded": 1,
        "attempts": 1,
        "first_start_s": 0,
        "last_end_s": 1000,
        "queued_mean_s": 0,
        "queued_max_s": 0,
        "most_at_once": 1,
        "gpus": 4,
        "gpu_hours": 1.111,
        "timeline": "",
    }
    assert (score["jobs"], score["first_start_s"], score["last_end_s"]) == (3, 400, 4600)


def test_programs_get_every_job_and_the_whole(foresee: Foresee) -> None:
    said = summary.as_json(foresee(LADDER, room={"nodes": 1.0}, jobs_s={"": 60.0}))

    assert (said["study"], said["machine"], said["makespan_s"]) == ("s", "cluster", 240)
    assert said["jobs"][1] == {
        "job": "score-train@0000040",
        "stage": "score",
        "state": "succeeded",
        "start_s": 60,
        "end_s": 120,
        "queued_s": 36,
        "attempts": 1,
        "gpu_hours": 0,
    }


def test_dead_ends_of_one_reason_are_told_together(foresee: Foresee) -> None:
    stages = """
        train: {backend: megatron, sweep: {params: {a: [1, 2, 3, 4]}}, args: {seed: '${a}', train-iters: 9}}
        later:
          start: {checkpoint_reached: {stage: train, iteration: 50}}
          command: [x]
          sweep: {params: {a: [1, 2, 3, 4]}}
        score: {each: {checkpoint: train, every: 5}, command: [x]}
        """
    found = foresee(stages)

    later, score = list(summary.dead_ends(found))

    assert (later["stage"], later["what"], len(later["jobs"])) == ("later", "never start", 4)
    assert "newest checkpoint at iteration 9 of 50" in later["why"]
    assert (score["stage"], score["what"], len(score["jobs"])) == ("score", "never appear", 4)
    told = "\n".join(summary.text(found))
    assert "dead end: jobs of later never start: later-a1, later-a2, later-a3 and 1 more: train-a1 succeeded" in told


def test_a_timeline_shows_when_a_stage_has_how_many_running(foresee: Foresee) -> None:
    stages = """
        one: {command: ['${a}'], sweep: {params: {a: [1, 2, 3, 4]}}, resources: {walltime: 1h}}
        two: {needs: one, command: [x]}
        """
    found = foresee(stages, room={"nodes": 3.0})

    one, two = (stage["timeline"] for stage in summary.as_json(found)["stages"])

    assert (one[0], one[-1], set(one[30:40])) == ("#", " ", {":"})
    assert (two[0], two[-1]) == (" ", "#")


def test_a_picture_fits_a_terminal_and_says_what_was_assumed(foresee: Foresee) -> None:
    lines = list(summary.text(foresee(LADDER, steps_s={"": 10.0})))

    assert lines[0] == "s on machine cluster, in virtual time: 4 jobs, 4 attempts, 1.111 GPU hours, over after 1h16m"
    assert "assumed: train: 10s an iteration (1 attempt)" in lines
    assert any("as many nodes as are asked for" in line for line in lines)
    assert max(len(line) for line in lines if "|" in line) == summary.WIDTH


def test_a_study_in_which_nothing_runs_is_told_as_well(foresee: Foresee) -> None:
    found = foresee("one: {command: [x], resources: {nodes: 9}}", room={"nodes": 1.0})

    assert summary.as_json(found)["makespan_s"] == 0
    assert "dead end: jobs of one fail: one: it asks for 9 nodes" in "\n".join(summary.text(found))
