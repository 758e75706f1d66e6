import pytest

from autoexp.errors import RecipeError
from autoexp.places import KeyPath, Places

PLACES = Places(
    "r.yaml", {("stages",): "r.yaml:3", ("stages", "train"): "r.yaml:4", ("stages", "train", "args"): "r.yaml:6"}
)


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        pytest.param(("stages", "train", "args"), "r.yaml:6: stages.train.args", id="written"),
        pytest.param(("stages", "train", "args", "lr"), "r.yaml:6: stages.train.args.lr", id="below what is written"),
        pytest.param(("stages", "train", "sweep", 0), "r.yaml:4: stages.train.sweep.0", id="in a list"),
        pytest.param(("params", "lr"), "r.yaml: params.lr", id="nowhere"),
        pytest.param((), "r.yaml", id="the file"),
    ],
)
def test_a_place_is_spelled_as_file_line_and_key(path: KeyPath, spelled: str) -> None:
    assert PLACES.spell(path) == spelled


def test_a_name_is_found_below_a_prefix() -> None:
    assert PLACES.find(("stages",), "args") == ("stages", "train", "args")
    assert PLACES.find(("stages", "train", "args"), "args") == ("stages", "train", "args")
    assert PLACES.find(("stages",), "lr") == ("stages",)


def test_an_error_names_its_place() -> None:
    error = PLACES.error(("stages", "train"), "it is wrong", why="so", fix="mend it")

    assert isinstance(error, RecipeError)
    assert str(error) == "r.yaml:4: stages.train: it is wrong\n  why: so\n  fix: mend it"


def test_an_unknown_key_is_answered_with_the_nearest_known_one() -> None:
    near = PLACES.unknown(("stages", "train", "agrs"), ("args", "env"))
    far = PLACES.unknown(("stages", "train", "colour"), ("args", "env"))

    assert near.what == "r.yaml:4: stages.train.agrs: unknown key 'agrs'"
    assert near.why == "known here: args, env"
    assert near.fix == "did you mean args?"
    assert far.fix == "remove it, or use one of the known keys"
