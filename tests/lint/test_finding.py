from collections.abc import Callable
from typing import Any

from tests.lint.test_schedules import WSD

Warned = Callable[..., list[dict[str, Any]]]


def test_many_jobs_are_counted(warned: Warned) -> None:
    branches = ", ".join(str(150 + 100 * number) for number in range(5))

    (found,) = warned(WSD % ("", branches, ""))

    assert found["message"].startswith(
        "cooldown-branch150, cooldown-branch250, cooldown-branch350 and 2 more: it branches"
    )
    assert len(found["jobs"]) == 5
