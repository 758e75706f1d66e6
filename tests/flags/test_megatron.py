from autoexp.flags.megatron import FLAGS, VERSIONS


def test_the_table_has_the_flags_that_recipes_use_and_says_of_which_versions() -> None:
    known = {
        "train-iters",
        "save-interval",
        "override-opt_param-scheduler",
        "lr-wsd-decay-iters",
        "no-load-optim",
        "bf16",
    }

    assert known <= FLAGS
    assert VERSIONS == "0.8.0 to 0.20.0"


def test_the_table_has_names_without_dashes_and_none_of_other_programs() -> None:
    assert not any(name.startswith("-") for name in FLAGS)
    assert FLAGS.isdisjoint({"save-extra-steps", "learning-rate", "help"})
