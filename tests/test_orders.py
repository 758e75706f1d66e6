"""Who may run an attempt, and what it sees."""

from pathlib import Path

import pytest

from autoexp.machine import Machine
from autoexp.orders import WITHDRAWN, Order, environment_of, take_back


@pytest.fixture
def order(tmp_path: Path) -> Order:
    folder = tmp_path / "attempts" / "001"
    folder.mkdir(parents=True)
    return Order(
        token="one.1.k3y",
        attempt=1,
        job_dir=tmp_path,
        attempt_dir=folder,
        environment={"AUTOEXP_JOB": "one", "USER": "me"},
    )


def test_an_attempt_that_was_taken_back_stays_so(order: Order) -> None:
    assert take_back(order)
    assert take_back(order), "before, too"
    assert (order.attempt_dir / "run.one.1.k3y").read_text().strip() == WITHDRAWN


def test_an_attempt_that_was_claimed_cannot_be_taken_back(order: Order) -> None:
    (order.attempt_dir / "run.one.1.k3y").write_text("77\n")

    assert not take_back(order)


def test_nothing_is_taken_back_where_there_is_no_folder(order: Order) -> None:
    order.attempt_dir.rmdir()

    assert not take_back(order)


def test_an_attempt_sees_its_own_variables_and_those_that_the_machine_file_names(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "LANG", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PATH": "/bin", "USER": "root", "WANTED": "yes", "SECRET": "no"}.items():
        monkeypatch.setenv(name, value)

    seen = environment_of(order, Machine(name="here", environment=("WANTED", "MISSING")))

    assert seen == {"PATH": "/bin", "USER": "me", "WANTED": "yes", "AUTOEXP_JOB": "one"}
