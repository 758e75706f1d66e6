from collections.abc import Callable
from pathlib import Path

from autoexp.explanation import explain, text
from autoexp.model import Condition, Job, JobSpec, State
from autoexp.registry import Ledger, Registry
from autoexp.view import View


def test_an_explanation_ends_with_what_to_type_next(
    tmp_path: Path, make_spec: Callable[..., JobSpec], make_ledger: Callable[..., Ledger]
) -> None:
    start = Condition(name="all", parts=(Condition(name="job_succeeded", jobs=("one",)),))
    waiting = Job(spec=make_spec("two", start=start), state=State.WAITING)
    ledger = make_ledger(Job(spec=make_spec("one"), state=State.FAILED, reason="exit code 3"), waiting)
    seen = View(tmp_path / "experiments", tmp_path / "var", Registry(tmp_path, {"demo": ledger}), None, {})
    ledger.dir_of("two").mkdir(parents=True)

    said = list(text(explain(seen, ledger, waiting)))

    assert said[0] == "demo/two is waiting: one is failed"
    assert "    never job_succeeded: one is failed" in said
    assert said[-3:] == [
        "  what would move it: start submits it now, whatever it waits for",
        f"  it may be told to hold, start, cancel, succeed, fail: autoexp mark {ledger.dir_of('two')} VERB",
        f"  type: autoexp mark {ledger.dir_of('two')} start",
    ]
