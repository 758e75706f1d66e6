from autoexp.report.work import split


def test_flags_of_how_it_runs_are_its_layout_and_the_others_its_work() -> None:
    work, layout = split(
        {
            "num-layers": 4,
            "lr": 3e-4,
            "train-iters": 20,
            "model": "tiny",
            "global-batch-size": 8,
            "sharding_strategy": "ddp",
            "cpu-offload": False,
            "trainer.strategy.tensor_model_parallel_size": 2,
            "gradient_accumulation_steps": 4,
            "bf16": True,
        },
        "/e/jobs/a",
    )

    assert work == {"num-layers": "4", "lr": "0.0003", "train-iters": "20", "model": "'tiny'"}
    assert len(layout) == 6


def test_what_names_its_own_folder_and_what_is_left_out_count_for_neither() -> None:
    assert split({"metrics": "/e/jobs/a/metrics.jsonl", "save": None, "fsdp": None}, "/e/jobs/a") == ({}, {})
