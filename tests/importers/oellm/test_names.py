from autoexp.importers.oellm.names import Names


def test_a_path_is_called_by_its_last_word() -> None:
    names = Names()

    assert [
        names.of(path) for path in ("backend.megatron.lr", "slurm.sbatch.nodes", "backend.megatron.aux.tokens")
    ] == [
        "lr",
        "nodes",
        "tokens",
    ]
    assert names.of("backend.megatron.lr") == "lr"


def test_two_paths_never_share_a_name_nor_take_one_of_ours() -> None:
    names = Names()

    found = [names.of(path) for path in ("backend.megatron.lr", "aux.lr", "backend.lr", "slurm.stage", "x.1b")]

    assert found == ["lr", "aux_lr", "backend_lr", "slurm_stage", "x_1b"]
