from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp import recipes
from autoexp.errors import RecipeError
from autoexp.plan import Planner

Plans = Callable[..., Planner]


def load(folder: Path, text: str, *overrides: str) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return recipes.load(path, overrides)


def raw(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return recipes.load_yaml(path)[0]


# Recipes made of others


BASE = """
study: base
params: {steps: 100, seed: 1}
stages:
  train: {command: [train, "${steps}"], retry: {max_attempts: 3}}
"""


def test_a_recipe_lies_over_those_it_extends_the_last_over_the_first(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "more.yaml").write_text("params: {steps: 200}\nstages: {score: {needs: train, command: [score]}}\n")

    found = load(tmp_path, "study: mine\nextends: [base.yaml, more.yaml]\nstages: {train: {retry: {backoff: 1s}}}\n")

    assert (found.study, found.params) == ("mine", {"steps": 200, "seed": 1})
    assert list(found.stages) == ["train", "score"]
    assert found.stages["train"].raw["retry"] == {"max_attempts": 3, "backoff": "1s"}
    assert found.places.spell(("params", "steps")).startswith(f"{tmp_path}/more.yaml:1")
    assert load(tmp_path, found.text).stages == found.stages


@pytest.mark.parametrize("line", ["a: {x: ${calc:'1 + 2'}}", "a: [1, ${x}]", "a: [{b: ${x}, c: 2}]", "a: {x: y-${z}}"])
def test_an_interpolation_that_is_not_quoted_between_braces_is_told(tmp_path: Path, line: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"study: s\n{line}\n", encoding="utf-8")

    with pytest.raises(RecipeError, match=r"r\.yaml:2: this is no YAML") as caught:
        recipes.load(file)

    assert "quote what holds ${...}" in str(caught.value)


def test_another_slip_beside_a_quoted_interpolation_is_told_as_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text('command: [a, "x: ${y}", }b]', encoding="utf-8")

    with pytest.raises(RecipeError) as caught:
        recipes.load(file)

    assert "quote what holds" not in str(caught.value)


def test_null_takes_away_what_the_other_recipe_says(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)

    found = load(tmp_path, "study: mine\nextends: base.yaml\nparams: {seed: null, own: null}\n")

    assert found.params == {"steps": 100, "own": None}


def test_a_shipped_recipe_is_extended_by_its_name(tmp_path: Path) -> None:
    assert "pretrain" in load(tmp_path, "study: mine\nextends: demo\n").stages


VARIED = (
    BASE
    + """
variants:
  cpu: {params: {steps: 2}, stages: {train: {resources: {cpus: 1}}}}
  long:
    params: {steps: 900}
"""
)


def test_a_variant_is_put_over_the_recipe_when_it_is_asked_for(tmp_path: Path) -> None:
    plain, cpu = load(tmp_path, VARIED), load(tmp_path, VARIED, "variant=cpu")

    assert (plain.params["steps"], plain.text) == (100, VARIED)
    assert cpu.params == {"steps": 2, "seed": 1}
    assert cpu.stages["train"].raw["resources"] == {"cpus": 1}
    assert load(tmp_path, VARIED, "variant=long").places.spell(("params", "steps")).endswith("yaml:10: params.steps")
    assert load(tmp_path, VARIED, "variant=cpu", "steps=5").params["steps"] == 5
    assert load(tmp_path, VARIED, "variant=cpu", "variant=long").params["steps"] == 900


def test_a_param_called_variant_is_one_where_there_are_no_variants(tmp_path: Path) -> None:
    text = "study: s\nparams: {variant: a}\nstages: {train: {command: [train]}}\n"

    assert load(tmp_path, text, "variant=b").params == {"variant": "b"}


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        ("extends: x.yaml", (), "there is no recipe x.yaml"),
        ("extends: unknown", (), "recipe.yaml:1: extends: unknown recipe"),
        ("extends: [3]", (), "recipe.yaml:1: extends: 3 is no recipe"),
        ("extends: 3", (), "recipe.yaml:1: extends: 3 is no recipe"),
        ("extends: recipe.yaml", (), "recipe.yaml:1: extends: recipe.yaml extends itself"),
        ("variants: [cpu]", (), "recipe.yaml:1: variants: variants are NAME: {...}"),
        ("variants: {cpu: 3}", (), "recipe.yaml:1: variants: variants are NAME: {...}"),
        ("variants: {cpu: {}}", ("variant=gpu",), "'variant=gpu' cannot be applied"),
    ],
)
def test_what_cannot_be_put_together_is_told_with_its_place(
    tmp_path: Path, text: str, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RecipeError) as refusal:
        load(tmp_path, f"{text}\n{BASE}", *overrides)

    assert said in refusal.value.what
    assert refusal.value.why
    assert refusal.value.fix


# YAML, as OmegaConf's loader takes it


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-2", 0.01),
        ("1e3", 1000.0),
        ("1_000", 1000),
        ("0.1", 0.1),
        (".5", 0.5),
        ("-.inf", -float("inf")),
        ("yes", True),
        ("'yes'", "yes"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("10M", "10M"),
        ("[1, [2]]", [1, [2]]),
        ("{1: a}", {"1": "a"}),
        ("'12:30:00'", "12:30:00"),
    ],
)
def test_a_scalar_is_what_omegaconf_reads(tmp_path: Path, text: str, value: object) -> None:
    found = raw(tmp_path, f"a: {text}")["a"]

    assert found == value
    assert type(found) is type(value)


def test_every_key_and_item_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1\nb:\n  - x\n  - y: {z: 2}\n", encoding="utf-8")

    _, places = recipes.load_yaml(path)

    assert places.spell(("b", 1, "y", "z")) == f"{path}:4: b.1.y.z"
    assert places.spell(("a",)) == f"{path}:1: a"


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert raw(tmp_path, "") == {}
    assert raw(tmp_path, "# nothing\n") == {}


def test_anchors_and_merges_are_plain_yaml(tmp_path: Path) -> None:
    assert raw(tmp_path, "a: &x {p: 1}\nb: {<<: *x, q: 2}") == {"a": {"p": 1}, "b": {"p": 1, "q": 2}}


FILES = {
    "no YAML": ("a: [1, 2\nb: 3", ":2: this is no YAML", "correct the line"),
    "a tab": ("a:\n\tb: 1", ":2: this is no YAML", "indent by spaces: YAML takes no tabs"),
    "a list": ("- a\n- b", ":1: this is no mapping", "write key: value pairs"),
    "text": ("just text", ":1: this is no mapping", "write key: value pairs"),
    "a number": ("0", ":1: this is no mapping", "write key: value pairs"),
    "a name twice": ("params:\n  lr: 1\n  lr: 2", ":3: lr is defined twice", "remove one"),
    "a stage twice": ("stages:\n  a: {}\n  a: {}", ":3: a is defined twice", "remove one"),
    "the key on": ("stages:\n  on: {}", ":2: the key 'on' is not a word in YAML", 'quote it: "on":'),
    "the key No": ("No: 1", ":1: the key 'No' is not a word in YAML", 'quote it: "No":'),
    "a sexagesimal number": (
        "a:\n  walltime: 12:30:00",
        ":2: a.walltime: 12:30:00 is not a time in YAML",
        "write a duration",
    ),
    "a short one": ("a: [1, 190:20]", ":1: a.1: 190:20 is not a time in YAML", "write a duration"),
    "a fraction of one": ("a: 1:30.5", ":1: a: 1:30.5 is not a time in YAML", "write a duration"),
    "an unclosed name": ("a:\n  b: 'x ${y'", ":2: a.b: not in the recipe language", "close each quote"),
    "a file that holds itself": ("a: &x [1, *x]", " cannot be read", "write it out"),
}


@pytest.mark.parametrize(("text", "what", "fix"), FILES.values(), ids=FILES)
def test_what_yaml_misreads_is_refused_with_file_line_and_fix(tmp_path: Path, text: str, what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        raw(tmp_path, text)

    assert caught.value.what.startswith(f"{tmp_path / 'x.yaml'}{what}")
    assert caught.value.why
    assert caught.value.fix.startswith(fix)


def test_a_sexagesimal_number_is_told_as_what_yaml_reads(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        raw(tmp_path, "walltime: 12:30:00")

    assert caught.value.why == "it is read as the number 45000"


@pytest.mark.parametrize("content", [None, b"a: \xff"], ids=["missing", "no UTF-8"])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RecipeError, match="cannot be read"):
        recipes.load_yaml(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab:-[]{}\"'#&*!|>%@`,? \n\t$1.0onyes", max_size=25) | st.text(max_size=10))
def test_any_text_is_a_mapping_or_a_recipe_error(tmp_path: Path, text: str) -> None:
    try:
        assert isinstance(raw(tmp_path, text.replace("\r", "").replace("\ud800", "")), dict)
    except RecipeError as error:
        assert error.why  # noqa: PT017 - both answers are fine
        assert error.fix  # noqa: PT017


# Overrides

RECIPE = """\
study: s
params: {seed: 1, base: {a: 1, b: 2}}
sweep:
  groups:
    - configs: {model: [10M: {layers: 5}, 25M: {layers: 9}, tiny]}
    - params: {lr: [1e-2, 1e-3]}
stages:
  train:
    params: {seed: 7, warmup: 10}
    command: [train, "${seed}", "${warmup}", "${lr}"]
  cool:
    sweep: {params: {tokens: [1, 2]}}
    command: [cool, "${seed}"]
"""


def ids(planner: Planner) -> list[str]:
    return [job.id for job in planner.plan().jobs]


def test_without_overrides_the_recipe_is_kept_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, RECIPE).text == RECIPE


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        pytest.param("seed=3", ("params", "seed"), 3, id="a param of the study"),
        pytest.param("seed=3", ("stages", "train", "params", "seed"), 3, id="and of the stage that has it too"),
        pytest.param("warmup=1e-3", ("stages", "train", "params", "warmup"), 0.001, id="a param of a stage"),
        pytest.param("seed=text", ("params", "seed"), "text", id="text"),
        pytest.param("seed=a=b", ("params", "seed"), "a=b", id="an equals sign"),
        pytest.param("seed=[1, x]", ("params", "seed"), [1, "x"], id="a list"),
        pytest.param("seed={a: 1}", ("params", "seed"), {"a": 1}, id="a mapping"),
        pytest.param("seed=", ("params", "seed"), None, id="nothing"),
        pytest.param("seed=${calc:'1 + 1'}", ("params", "seed"), "${calc:'1 + 1'}", id="an expression"),
        pytest.param("params.base.a=5", ("params", "base"), {"a": 5, "b": 2}, id="a dotted path"),
        pytest.param("params.new=5", ("params", "new"), 5, id="a new param"),
        pytest.param("stages.train.command.0=x", ("stages", "train", "command", 0), "x", id="an item of a list"),
        pytest.param("stages.cool.retry.max_attempts=2", ("stages", "cool", "retry"), {"max_attempts": 2}, id="made"),
        pytest.param("lr=5", ("sweep", "groups", 1, "params", "lr"), [5], id="an axis is pinned"),
        pytest.param("tokens=9", ("stages", "cool", "sweep", "params", "tokens"), [9], id="a stage's axis"),
        pytest.param("model=25M", ("sweep", "groups", 0, "configs", "model"), [{"25M": {"layers": 9}}], id="an entry"),
        pytest.param("model=tiny", ("sweep", "groups", 0, "configs", "model"), ["tiny"], id="an entry without params"),
    ],
)
def test_an_override_sets_what_it_names(
    tmp_path: Path, override: str, path: tuple[str | int, ...], value: object
) -> None:
    recipe = load(tmp_path, RECIPE, override)

    found: Any = {"params": recipe.params, "sweep": recipe.sweep}
    found["stages"] = {name: stage.raw for name, stage in recipe.stages.items()}
    for key in path:
        found = found[key]
    assert found == value


def test_study_and_machine_can_be_overridden(tmp_path: Path) -> None:
    recipe = load(tmp_path, RECIPE, "study=other", "machine=lumi")

    assert (recipe.study, recipe.machine) == ("other", "lumi")


def test_a_pinned_axis_names_the_same_jobs_as_before(planner: Plans) -> None:
    every = ids(planner(RECIPE))
    pinned = ids(planner(RECIPE, "model=10M", "lr=1e-2", "tokens=2"))

    assert pinned == ["train-model10M-lr0.01", "cool-model10M-lr0.01-tokens2"]
    assert set(pinned) < set(every)


GROUPED = """
study: s
sweep:
  type: list
  groups:
    - {params: {mode: [small], lr: [1e-3, 1e-2]}, defaults: {layers: 2}}
    - {params: {mode: [large], lr: [1e-3, 1e-4]}, defaults: {layers: 24}}
    - {params: {seed: [1]}, defaults: {layers: 9, mode: x, lr: 1}}
stages: {t: {command: [echo, "${mode} ${lr}", "${layers}"]}}
"""


@pytest.mark.parametrize(
    ("override", "group", "jobs"),
    [
        ("mode=small", 0, {"t-modesmall-lr0.001": "2", "t-modesmall-lr0.01": "2", "t-seed1": "9"}),
        ("mode=large", 0, {"t-modelarge-lr0.001": "24", "t-modelarge-lr0.0001": "24", "t-seed1": "9"}),
        ("lr=1e-3", 1, {"t-modesmall-lr0.001": "2", "t-modelarge-lr0.001": "24", "t-seed1": "9"}),
        ("lr=1e-4", 0, {"t-modelarge-lr0.0001": "24", "t-seed1": "9"}),
        ("lr=3", 1, {"t-modesmall-lr3": "2", "t-modelarge-lr3": "24", "t-seed1": "9"}),
    ],
)
def test_an_axis_that_several_groups_have_is_pinned_in_those_that_have_the_value(
    planner: Plans, override: str, group: int, jobs: dict[str, str]
) -> None:
    made = planner(GROUPED, override)

    assert {job.id: job.argv[2] for job in made.plan().jobs} == jobs
    place = made.recipe.places.written["sweep", "groups", group, "params", override.partition("=")[0]]
    assert place == f"the command line ({override})"


PLACED = """\
study: s
sweep:
  configs:
    model:
      - small: {width: 1}
      - large:
          width: 2
  groups:
    - type: zip
      params:
        lr:
          - 1
          - 2
      configs:
        data:
          - web: {n: 1}
          - books: {n: 2}
    - configs:
        - seed: 1
        - seed: 2
stages: {a: {command: [run]}}
"""


@pytest.mark.parametrize(
    ("override", "path", "place"),
    [
        pytest.param("model=large", ("configs", "model", 0, "large", "width"), ":7: ", id="a named entry"),
        pytest.param("model=small", ("configs", "model", 0, "small"), ":5: ", id="the first of them"),
        pytest.param("lr=2", ("groups", 0, "configs", "data", 0, "books", "n"), ":17: ", id="what is zipped with it"),
        pytest.param("seed=2", ("groups", 1, "configs", 0), ":20: ", id="a whole configuration"),
        pytest.param("lr=2", ("groups", 0, "params", "lr"), "the command line (lr=2): ", id="the axis itself"),
    ],
)
def test_what_is_left_of_a_pinned_axis_is_found_where_it_was_written(
    tmp_path: Path, override: str, path: tuple[str | int, ...], place: str
) -> None:
    spelled = load(tmp_path, PLACED, override).places.spell(("sweep", *path))

    assert spelled.removeprefix(str(tmp_path / "recipe.yaml")).startswith(place), spelled


def test_a_changed_recipe_is_kept_so_that_it_reads_back_the_same(tmp_path: Path) -> None:
    changed = load(tmp_path, RECIPE, "lr=1e-05", "seed='😀 \\u2028 ${lr}'", 'params.x={"Yes": .inf}', "params.y=a b")

    again = load(tmp_path, changed.text)

    assert changed.text.isascii()
    assert changed.text.startswith("# 'recipe.yaml' with 'lr=1e-05' ")
    assert (again.params, again.sweep, again.study) == (changed.params, changed.sweep, changed.study)
    assert {n: s.raw for n, s in again.stages.items()} == {n: s.raw for n, s in changed.stages.items()}
    assert again.text == changed.text


def test_an_entry_that_none_of_several_axes_has_is_refused_with_those_of_all(tmp_path: Path) -> None:
    recipe = """
        study: s
        sweep: {type: list, groups: [{configs: {m: [a: {x: 1}]}}, {configs: {m: [b: {x: 2}]}}]}
        stages: {t: {command: [t, "${x}"]}}
    """
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, recipe, "m=c")

    assert caught.value.fix == "use one of a, b"


def test_an_override_with_a_line_break_stays_one_value(tmp_path: Path) -> None:
    changed = load(tmp_path, RECIPE, 'seed="a\nb: c"')

    assert load(tmp_path, changed.text).params["seed"] == changed.params["seed"] == "a b: c"


OVERRIDES = {
    "no equals sign": ("lr", "it is not KEY=VALUE", "write for example lr=1e-3"),
    "no key": ("=3", "it is not KEY=VALUE", "write for example"),
    "a mistyped param": ("sede=3", "the recipe has no param and no axis 'sede'", "did you mean seed?"),
    "a mistyped axis": ("mdoel=10M", "the recipe has no param and no axis 'mdoel'", "did you mean model?"),
    "an unknown name": ("zzz=3", "the recipe has no param and no axis 'zzz'", "use one of base, lr, model, seed"),
    "an unknown entry": ("model=50M", "the axis has no such entry", "use one of 10M, 25M, tiny"),
    "a path below a number": ("params.seed.x=3", "the recipe has no params.seed", "correct the path"),
    "a path below nothing": ("params.nope.x=3", "the recipe has no params.nope", "correct the path"),
    "an unknown stage": ("stages.nope.args.lr=3", "the recipe has no stages.nope", "correct the path"),
    "an item beyond a list": ("stages.train.command.9=x", "the recipe has no stages.train.command", "correct the path"),
    "two values": ("seed=1\nlr: 2", "it holds more than one value", "quote the value"),
}


@pytest.mark.parametrize(("override", "why", "fix"), OVERRIDES.values(), ids=OVERRIDES)
def test_an_override_that_does_not_fit_says_why(tmp_path: Path, override: str, why: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, RECIPE, override)

    assert caught.value.what == f"{override!r} cannot be applied to the recipe"
    assert caught.value.why == why
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        pytest.param("seed=[1", "the command line (seed=[1): this is no YAML", id="no YAML"),
        pytest.param("stages.train.resources.walltime=12:30:00", "12:30:00 is not a time in YAML", id="sexagesimal"),
        pytest.param("seed=${x", "not in the recipe language", id="an unclosed name"),
    ],
)
def test_an_override_is_read_as_strictly_as_the_recipe(tmp_path: Path, override: str, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, RECIPE, override)

    assert "the command line" in caught.value.what
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("override", "what"),
    [
        pytest.param("lr=${nope}", "the command line (lr=${nope}): sweep.groups.1.params.lr", id="an axis"),
        pytest.param("seed=${nope}", "the command line (seed=${nope}): stages.train.params.seed", id="a param"),
        pytest.param("stages.train.agrs=1", "the command line (stages.train.agrs=1): stages.train.agrs", id="a key"),
        pytest.param(
            "stages.cool.retry.attempts=2",
            "the command line (stages.cool.retry.attempts=2): stages.cool.retry.attempts: unknown key",
            id="a key below",
        ),
    ],
)
def test_an_error_that_an_override_caused_points_at_the_command_line(planner: Plans, override: str, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        planner(RECIPE, override).plan()

    assert caught.value.what.startswith(what)


def test_a_long_recipe_is_a_recipe(tmp_path: Path) -> None:
    sweep = f"sweep: {{params: {{seed: {list(range(10_001))}}}}}"

    recipe = load(tmp_path, f"study: s\n{sweep}\nstages: {{t: {{command: ['${{seed}}']}}}}")

    assert len(recipe.sweep["params"]["seed"]) == 10_001


def test_aliases_that_stand_for_each_other_over_and_over_are_refused_at_once(tmp_path: Path) -> None:
    pairs = zip("abcdefg", "bcdefgh", strict=True)
    levels = [f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in pairs]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(["a: &a [x,x,x,x,x,x,x,x,x]", *levels]))

    with pytest.raises(RecipeError, match="holds more than") as refusal:
        recipes.load_yaml(file)

    assert "aliases" in refusal.value.why
