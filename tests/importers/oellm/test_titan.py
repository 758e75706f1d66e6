from autoexp.importers.oellm import titan
from tests.importers.oellm.test_stages import config

OPTIONS = {
    "class_name": "TitanJobConfig",
    "job": {"dump_folder": "/out", "description": "a try"},
    "training": {"steps": 100, "dataset": "", "dtype": "bfloat16"},
    "checkpoint": {"enable": True, "folder": "ck", "exclude_from_loading": ["lr_scheduler", "dataloader"]},
    "compile": {"enable": False, "components": ["model", "loss"]},
    "parallelism": {"expert_parallel_degree": None},
}


def test_options_of_a_file_are_flags_by_their_full_names() -> None:
    assert titan.flags(config({"backend": {"titan": OPTIONS}}), ()) == {
        "job.description": "a try",
        "training.steps": 100,
        "training.dtype": "bfloat16",
        "checkpoint.enable": True,
        "checkpoint.exclude_from_loading": ["lr_scheduler", "dataloader"],
        "compile.no-enable": True,
        "compile.components": ["model", "loss"],
    }


def test_a_swept_option_is_named_and_a_swept_switch_is_on_or_off() -> None:
    swept = ("backend.titan.training.steps", "backend.titan.compile.enable", "backend.titan.model.flavor")

    made = titan.flags(config({"backend": {"titan": OPTIONS}}, *swept), swept)

    assert (made["training.steps"], made["model.flavor"]) == ("${training_steps}", "${model_flavor}")
    assert (made["compile.enable"], made["compile.no-enable"]) == (
        "${compile_enable}",
        "${calc:'not ${compile_enable}'}",
    )


def test_a_module_of_more_options_is_named() -> None:
    raw = {"backend": {"titan": {}, "custom_config_module": "titan_oellm.config"}}

    assert titan.flags(config(raw), ()) == {"job.custom_config_module": "titan_oellm.config"}
