from autoexp.report.work import devices_a_copy, of_a_sample, split


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

    rest = {"num-layers": "4", "lr": "0.0003", "train-iters": "20", "model": "'tiny'"}
    assert work == {**rest, "global-batch-size": "8"}
    assert len(layout) == 5
    assert of_a_sample(work) == rest


def test_the_batch_of_all_devices_and_the_times_of_saves_are_work_that_of_one_device_is_layout() -> None:
    args = {
        "training.global_batch_size": 8,
        "rampup-batch-size": [8, 8, 100],
        "save_strategy": "epoch",
        "activation-func-clamp-value": 7.0,
        "micro-batch-size": 2,
        "per_device_train_batch_size": 2,
        "activation_checkpoint.mode": "full",
    }
    work, layout = split(args, "/e/jobs/a")

    assert list(work) == list(args)[:4]
    assert list(layout) == list(args)[4:]


def test_a_copy_of_the_model_takes_as_many_devices_as_it_is_split_over() -> None:
    assert devices_a_copy({"tensor-model-parallel-size": 2, "pipeline-model-parallel-size": "2"}) == 4
    assert devices_a_copy({"parallelism.tensor_parallel_degree": 8, "parallelism.data_parallel_shard_degree": 4}) == 8
    assert devices_a_copy({"trainer.strategy.tensor_model_parallel_size": 4, "context-parallel-size": None}) == 4
    assert devices_a_copy({"trainer.strategy.expert_model_parallel_size": 4, "expert-tensor-parallel-size": 2}) == 1


def test_what_names_its_own_folder_and_what_is_left_out_count_for_neither() -> None:
    assert split({"metrics": "/e/jobs/a/metrics.jsonl", "save": None, "fsdp": None}, "/e/jobs/a") == ({}, {})
