import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoexp.journal import open_journal
from autoexp.lease import var_of
from autoexp.model import State, Transition
from autoexp.report.results import Branch, Run, read
from autoexp.standings import Standings


def only(maker: Any) -> Run:
    (run,) = read(maker.study()).runs
    found: Run = run
    return found


def test_tokens_are_iterations_times_batch_times_length(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0, 20: 2.5})
    run = only(maker)
    assert (run.iteration, run.final_loss, run.asked) == (20, 2.5, 1000)
    assert run.tokens(run.iteration) == 20 * 4 * 128


def test_the_batch_size_is_the_logs_where_the_args_lack_it(maker: Any) -> None:
    maker.losses(maker.train("pretrain", global_batch_size=None), {10: 3.0}, batch=16)
    assert only(maker).tokens(10) == 10 * 16 * 128


def test_the_iterations_asked_for_are_the_logs_where_the_args_lack_them(maker: Any) -> None:
    maker.losses(maker.train("pretrain", train_iters=None), {10: 3.0}, total=77)
    assert only(maker).asked == 77


def test_without_a_length_tokens_are_unknown_and_never_zero(maker: Any) -> None:
    maker.losses(maker.train("pretrain", seq_length=None), {10: 3.0})
    run = only(maker)
    assert (run.tokens(10), run.rates()) == (None, [])
    assert run.problems == (
        "its tokens are unknown: neither its args nor its metrics.jsonl tell how many a sample has",
    )


def test_what_the_args_lack_metrics_tell_and_speed_is_that_of_single_steps(maker: Any) -> None:
    maker.losses(maker.train("pretrain", seq_length=None, global_batch_size=None), {1: 3.0, 2: 2.5}, batch=9)
    said = (
        {"kind": "step", "step": n, "step_s": 0.5, "samples_per_s": 32.0, "tokens_per_s": 2048.0} for n in (1, 2, 3)
    )
    (maker.dir / "jobs" / "pretrain" / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in said))
    run = only(maker)
    assert (run.iteration, run.tokens(run.iteration), run.problems) == (3, 3 * 16 * 64, ())
    assert (run.step_times(), run.sample_rates(), run.rates()) == ([0.5] * 3, [32.0] * 3, [2048.0] * 3)


def test_a_run_took_what_all_its_attempts_took(maker: Any) -> None:
    maker.train("pretrain")
    for attempt, lasted in ((1, 5.5), (2, 2.0)):
        maker.losses("pretrain", {10: 3.0}, attempt=attempt)
        for name, at in (("started", 100.0), ("exit", 100.0 + lasted)):
            (maker.dir / "jobs" / "pretrain" / "attempts" / f"{attempt:03d}" / f"{name}.json").write_text(
                f'{{"at":{at}}}'
            )
    assert only(maker).runtime_s == 7.5
    (maker.dir / "jobs" / "pretrain" / "attempts" / "002" / "exit.json").unlink()
    assert only(maker).runtime_s is None


def test_an_attempt_that_was_lost_lasted_until_the_last_that_it_wrote(maker: Any) -> None:
    maker.train("pretrain")
    for attempt in (1, 2):
        maker.losses("pretrain", {10: 3.0}, attempt=attempt)
        folder = maker.dir / "jobs" / "pretrain" / "attempts" / f"{attempt:03d}"
        (folder / "started.json").write_text('{"at":100.0}')
        os.utime(folder / "output.log", (130.0, 130.0))
    (folder / "exit.json").write_text('{"at":110.0}')
    run = only(maker)
    assert (run.runtime_s, [attempt.number for attempt in run.lost]) == (40.0, [1])
    (folder / "exit.json").unlink()  # it may run still
    assert replace(run, attempts=only(maker).attempts, state=State.RUNNING).runtime_s is None
    assert replace(run, attempts=only(maker).attempts, state=State.BACKOFF).runtime_s == 60.0


def test_work_and_layout_are_told_apart(maker: Any) -> None:
    maker.train("pretrain", micro_batch_size=2, num_layers=4)
    run = only(maker)
    assert ("micro-batch-size" in run.layout, run.work["num-layers"]) == (True, "4")


def test_a_batch_size_that_varies_is_said(maker: Any) -> None:
    maker.train("pretrain")
    maker.losses("pretrain", {10: 3.0}, batch=2)
    maker.losses("pretrain", {20: 2.5}, attempt=2)
    assert "its global batch size varies (2 to 4); tokens count 4" in only(maker).problems


def test_speed_is_that_of_warmed_up_reports(maker: Any) -> None:
    maker.train("pretrain")
    lines = dict.fromkeys(range(1, 7), 2.0)
    maker.losses("pretrain", lines, ms=500.0)
    run = only(maker)
    assert run.rates() == [4 * 128 / 0.5] * 4
    assert run.tflops() == [24.0] * 4


def test_a_training_that_is_no_number_any_more_has_no_final_loss(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0, 20: None})
    run = only(maker)
    assert (run.iteration, run.final_loss) == (20, None)
    assert run.problems == ("the report of iteration 20 has no finite loss",)


def test_a_log_without_reports_says_so(maker: Any) -> None:
    maker.log(maker.train("pretrain"), "building the model\n")
    assert only(maker).problems == ("its log has no report yet",)


def test_an_unknown_backend_costs_only_its_own_numbers(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0})
    maker._planned["pretrain"] = type(maker._planned["pretrain"])(id="pretrain", study="ladder", stage="s", backend="?")
    assert "unknown backend '?'" in only(maker).problems[0]


def test_a_link_to_another_jobs_checkpoint_makes_a_cooldown(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600)
    run = read(maker.study()).run("cooldown")
    assert run is not None
    assert (run.branch, run.family) == (Branch(parent="pretrain", iteration=600), "pretrain")


def test_a_cooldown_that_has_not_begun_branches_where_its_plan_says(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600, linked=False)
    run = read(maker.study()).run("cooldown")
    assert run is not None
    assert run.branch == Branch(parent="pretrain", iteration=600)


def test_a_cooldown_of_a_cooldown_is_of_the_same_family(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600)
    maker.cooldown("again", "cooldown", 700)
    assert read(maker.study()).families() == ["pretrain"]


def test_links_in_a_circle_or_out_of_the_study_make_no_cooldown(maker: Any, tmp_path: Path) -> None:
    maker.train("pretrain")
    folder = maker.dir / "jobs" / "pretrain" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "iter_0000100").symlink_to("iter_0000100")
    (folder / "iter_0000200").symlink_to(tmp_path / "elsewhere")
    (folder / "iter_0000300").symlink_to("../../gone/checkpoints/iter_0000300")
    (folder / "iter_0000400").mkdir()
    assert only(maker).branch is None


def test_jobs_that_branch_off_each_other_end_no_loop(maker: Any) -> None:
    maker.cooldown("a", "b", 100)
    maker.cooldown("b", "a", 200)
    assert [run.family for run in read(maker.study()).runs] == ["b", "a"]


def test_jobs_that_do_not_train_are_no_runs(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, 2.0)
    assert [run.job for run in read(maker.study()).runs] == ["pretrain"]


def test_states_and_reasons_are_the_journals(maker: Any) -> None:
    maker.train("pretrain")
    study = maker.study()
    journal = open_journal(var_of(study.root) / "journal", [], Standings(), 0, holder={}, at=time.time())
    gone = {"reason": "exit code 1"}
    move = Transition(at=1.0, study="ladder", job="pretrain", attempt=1, trigger="x", source=None, target=State.FAILED)
    journal.append([type(move)(**{name: getattr(move, name) for name in move.__slots__} | {"changes": gone})])
    journal.close()
    (run,) = read(study).runs
    assert (run.state, run.reason) == (State.FAILED, "exit code 1")


def test_a_damaged_journal_leaves_the_states_unknown_and_the_numbers_known(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0})
    study = maker.study()
    folder = var_of(study.root) / "journal"
    folder.mkdir(parents=True)
    (folder / "1.jsonl").write_text("nonsense\n")
    results = read(study)
    assert results.runs[0].state is None
    assert results.runs[0].final_loss == 3.0
    assert results.problems[0].startswith("the jobs' states are unknown: ")


def test_a_damaged_list_of_appeared_jobs_costs_the_evaluations_only(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0})
    maker.evaluate("pretrain", 10, 2.0)
    study = maker.study()
    (study.dir / "appeared.jsonl").write_text('{"id": 3,\n')
    results = read(study)
    assert results.runs[0].final_loss == 3.0
    assert results.problems[0].startswith("appeared.jsonl cannot be read, so evaluations are missing: ")


def test_reading_leaves_the_study_as_it_was(ladder: Any) -> None:
    def listing() -> list[tuple[str, int]]:
        return [(str(path), os.lstat(path).st_mtime_ns) for path in sorted(ladder.root.parent.rglob("*"))]

    before = listing()
    read(ladder)
    assert listing() == before
