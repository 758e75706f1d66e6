from pathlib import Path

import pytest

from autoexp.page import boards


def test_what_was_written_for_tensorboard_is_shown_by_a_command(tmp_path: Path) -> None:
    assert list(boards.commands(tmp_path)) == []
    for place in ("tensor board", "attempts/001"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "tensor board" / "events.out.tfevents.1.host").touch()

    assert list(boards.commands(tmp_path)) == [f"tensorboard --logdir '{tmp_path}/tensor board'"]

    (tmp_path / "attempts" / "001" / "events.out.tfevents.2.host").touch()
    assert list(boards.commands(tmp_path)) == [f"tensorboard --logdir {tmp_path}"]


def test_each_run_of_wandb_that_was_written_offline_is_sent_by_a_command(tmp_path: Path) -> None:
    for run in ("offline-run-2-b", "offline-run-1-a", "run-3-c"):
        (tmp_path / "wandb" / run).mkdir(parents=True)

    assert list(boards.commands(tmp_path)) == [
        f"wandb sync {tmp_path}/wandb/offline-run-1-a",
        f"wandb sync {tmp_path}/wandb/offline-run-2-b",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("wandb: 🚀 View run at https://wandb.ai/us/gpt/runs/x1\n", ["https://wandb.ai/us/gpt/runs/x1"]),
        (
            "wandb: 🚀 View run \x1b[33mlr 0.1\x1b[0m at: \x1b[34mhttps://wandb.ai/us/gpt/runs/x1\x1b[0m\n" * 2,
            ["https://wandb.ai/us/gpt/runs/x1"],
        ),
        ("wandb: 🚀 View run at javascript:alert(1)\nView run at https://elsewhere/\n", []),
        ("wandb: View run\n at https://elsewhere/\n", []),
    ],
)
def test_a_run_s_address_is_what_its_client_says_in_the_log(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "output.log").write_text(text)

    assert boards.links(tmp_path / "output.log") == found


def test_without_a_log_there_is_no_address(tmp_path: Path) -> None:
    assert boards.links(tmp_path / "output.log") == []
