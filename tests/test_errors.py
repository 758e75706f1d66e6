import pytest

from autoexp.errors import AlreadyWatched, AutoexpError, HookRefused, RecipeError


def test_an_error_says_what_why_and_the_fix_on_a_line_each() -> None:
    error = AutoexpError("the disk is full", why="df says 0", fix="remove something")

    assert str(error) == "the disk is full\n  why: df says 0\n  fix: remove something"


@pytest.mark.parametrize("kind", [RecipeError, HookRefused, AlreadyWatched])
def test_every_error_a_person_can_mend_is_caught_as_one(kind: type[AutoexpError]) -> None:
    with pytest.raises(AutoexpError) as caught:
        raise kind("what", why="why", fix="fix")

    assert (caught.value.what, caught.value.why, caught.value.fix) == ("what", "why", "fix")


def test_a_hook_refuses_for_good_unless_it_says_otherwise() -> None:
    assert not HookRefused("no", why="w", fix="f").temporary
    assert HookRefused("not yet", why="w", fix="f", temporary=True).temporary
