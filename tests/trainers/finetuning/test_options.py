"""The fine-tuning's command line."""

from pathlib import Path

import pytest

from autoexp.trainers.finetuning import options


def test_without_flags_it_is_the_workshops_training(tmp_path: Path) -> None:
    asked, args = options.parse(["--output_dir", str(tmp_path)])

    assert (asked.model, asked.max_length, asked.train_size, asked.eval_size) == (
        "bigscience/bloom-560m",
        512,
        500,
        100,
    )
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (1, 4)
    assert (args.learning_rate, args.weight_decay, args.num_train_epochs) == (5e-5, 0.01, 5)
    assert (asked.sharding_strategy, asked.metrics, args.report_to) == (None, None, [])


def test_the_trainers_own_flags_are_flags(tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path), "--max_length", "64", "--learning_rate", "1e-2", "--max_steps", "7"]

    asked, args = options.parse(words)

    assert (asked.max_length, args.learning_rate, args.max_steps) == (64, 1e-2, 7)


def test_a_flag_that_nobody_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(["--output_dir", str(tmp_path), "--no_such_flag", "1"])

    assert ended.value.code == 2
    assert "unrecognized arguments: --no_such_flag 1" in capsys.readouterr().err
