import pytest

from autoexp.actions import Action, AppearJob, StopJob, SubmitJob, WithdrawJob


@pytest.mark.parametrize(
    ("action", "spelled"),
    [
        pytest.param(SubmitJob(job="a", attempt=2), "submit a attempt 2", id="submit"),
        pytest.param(WithdrawJob(job="a", attempt=2), "withdraw a attempt 2", id="withdraw"),
        pytest.param(StopJob(job="a", attempt=2), "stop a attempt 2", id="stop"),
        pytest.param(StopJob(job="a", attempt=2, save=True), "save and stop a attempt 2", id="save and stop"),
        pytest.param(
            AppearJob(job="c@0000200", template="c", parent="a", iteration=200), "appear c@0000200", id="appear"
        ),
    ],
)
def test_the_journal_spells_an_action_as_an_order(action: Action, spelled: str) -> None:
    assert str(action) == spelled
