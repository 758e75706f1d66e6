"""The simulated cluster itself: what a job on it goes through, in good weather and bad."""

from collections.abc import Callable

from autoexp.events import SubmitLost, Submitted
from autoexp.files import read_json
from autoexp.model import JobSpec
from autoexp.orders import Order
from autoexp.simulation.cluster import IDS, SLOWEST_ACCOUNTING_S, Cluster
from autoexp.simulation.weather import DAY_S, HOUR_S
from autoexp.submissions import Question

COMMAND = JobSpec(id="one", study="demo", stage="one")
TRAINING = JobSpec(id="one", study="demo", stage="one", backend="megatron", args={"train-iters": 1000})


def sent(cluster: Cluster, order: Order) -> str:
    """Submit, and return the id."""
    outcome = cluster.submit(order, cluster.timeline.now)
    assert isinstance(outcome, Submitted)
    return str(outcome.scheduler_id)


def known(cluster: Cluster, order: Order) -> list[tuple[str, bool]]:
    """What the scheduler says now of an attempt's own jobs."""
    found = cluster.find([Question(name=order.token)])
    assert found is not None
    since = cluster.weather.began_at
    return [(entry.id, entry.live) for entry in found[order.token] if entry.submitted_at >= since]


def pass_time(cluster: Cluster, seconds: float) -> None:
    cluster.timeline.advance(cluster.timeline.now + seconds)


def run_until(cluster: Cluster, holds: Callable[[], object]) -> None:
    while not holds():
        cluster.timeline.step(cluster.timeline.now + HOUR_S)


def test_a_job_is_queued_runs_says_how_it_ended_and_comes_into_the_accounting_later(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster, order = make_cluster(COMMAND), make_order()
    number = sent(cluster, order)
    assert known(cluster, order) == [(number, True)]

    run_until(cluster, lambda: cluster.runs)
    assert (order.attempt_dir / f"run.{order.token}").read_text() == f"{number}\n"
    run_until(cluster, lambda: cluster.runs[0].ended_at)
    assert known(cluster, order) == [], "not in the queue any more, and not in the accounting yet"

    pass_time(cluster, SLOWEST_ACCOUNTING_S)
    assert known(cluster, order) == [(number, False)]
    exited, begun = read_json(order.attempt_dir / "exit.json"), read_json(order.attempt_dir / "started.json")
    assert exited == {"v": 1, "token": "one.1.k3y", "code": 0, "signal": 0, "asked": ""}
    assert begun is not None
    assert (begun["token"], begun["id"]) == (order.token, number)


def test_of_two_jobs_of_one_attempt_one_has_an_effect(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster, order = make_cluster(COMMAND), make_order()
    ids = {sent(cluster, order), sent(cluster, order)}
    assert len(ids) == 2

    pass_time(cluster, 3 * DAY_S)

    assert [run.code for run in cluster.runs] == [0]
    assert {live for _, live in known(cluster, order)} == {False}


def test_a_run_beyond_its_limit_is_ended_and_its_log_says_why(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster, order = make_cluster(TRAINING), make_order(walltime_s=3600)
    sent(cluster, order)

    pass_time(cluster, 3 * DAY_S)

    assert [(run.code, (run.ended_at or 0) - run.began_at) for run in cluster.runs] == [(143, 3600.0)]
    assert "DUE TO TIME LIMIT" in (order.attempt_dir / "output.log").read_text()


def test_a_queued_job_is_ended_for_good_and_never_starts(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster, order = make_cluster(COMMAND), make_order()
    number = sent(cluster, order)

    assert cluster.end(order.token, [str(int(number) + 1)], politely=False)
    assert cluster.end("another", [number], politely=False)
    assert known(cluster, order) == [(number, True)], "another id, or another name"
    assert cluster.end(order.token, [number], politely=False)
    pass_time(cluster, DAY_S)

    assert (cluster.runs, known(cluster, order)) == ([], [(number, False)])


def test_a_running_job_that_is_ended_says_so_or_is_killed(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    codes = set()
    for attempt in range(1, 20):
        cluster, order = make_cluster(TRAINING), make_order(attempt)
        number = sent(cluster, order)
        run_until(cluster, lambda cluster=cluster: cluster.runs)  # type: ignore[misc]
        cluster.end(order.token, [number], politely=False)
        pass_time(cluster, 60.0)
        codes.add(cluster.runs[0].code)

    assert codes == {143, None}


def test_ids_are_used_again_and_never_by_two_that_live(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster = make_cluster(COMMAND)
    ids = [sent(cluster, make_order(attempt)) for attempt in range(1, 101)]
    assert len(set(ids)) == 100
    pass_time(cluster, 5 * DAY_S)
    more = [sent(cluster, make_order(attempt)) for attempt in range(101, 201)]

    assert set(ids) & set(more)
    assert all(0 <= int(name) < IDS for name in ids)


def test_bad_weather_takes_jobs_without_saying_so_restarts_some_and_answers_badly(
    make_cluster: Callable[..., Cluster], make_order: Callable[..., Order]
) -> None:
    cluster = make_cluster(TRAINING, bad_days=60)
    orders = [make_order(attempt) for attempt in range(1, 101)]
    outcomes = {order.token: cluster.submit(order, cluster.timeline.now) for order in orders}
    answers = []
    for _ in range(200):
        pass_time(cluster, HOUR_S)
        found = cluster.find([Question(name=order.token) for order in orders])
        answers.append(None if found is None else len(found))

    lost = {token for token, outcome in outcomes.items() if isinstance(outcome, SubmitLost)}
    assert 0 < len(lost & cluster.taken.keys()) < len(lost)
    assert {None, 100} < set(answers), "none, whole, and partial answers"
    assert cluster.lies
    assert any(job.restarts for jobs in cluster.jobs.values() for job in jobs)
    assert {None, 1, 143} <= {run.code for run in cluster.runs if run.ended_at}
