from pathlib import Path

import pytest

from autoexp import folders
from autoexp.errors import AutoexpError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with an empty configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_one_s_own_folders_come_before_those_that_came_along(here: Path) -> None:
    own, config = here / "machines", here / "config/autoexp/machines"
    put(own, "a.yaml", "local.yaml")
    put(config, "a.yaml", "b.yaml")

    known = folders.files("machines", ".yaml")

    assert folders.search_path("machines")[:2] == [own, config]
    assert (known["a"], known["b"], known["local"]) == (own / "a.yaml", config / "b.yaml", own / "local.yaml")
    assert list(known) == sorted(known)


def test_what_came_along_is_found_without_a_folder_of_one_s_own(here: Path) -> None:
    assert "local" in folders.files("machines", ".yaml")
    assert not (here / "machines").exists()


def test_a_folder_that_is_two_of_them_is_searched_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "config/autoexp/machines", "a.yaml")
    monkeypatch.chdir(here / "config/autoexp")

    assert folders.search_path("machines").count(here / "config/autoexp/machines") == 1


def test_hidden_and_private_files_and_other_kinds_are_no_candidates(here: Path) -> None:
    put(here / "hooks", "good.py", "_shared.py", ".hidden.py", "notes.txt")

    assert "good" in folders.files("hooks", ".py")
    assert not {"_shared", ".hidden", "notes"} & folders.files("hooks", ".py").keys()


@pytest.mark.parametrize("name", ["nowhere", "../local", "", "/etc/passwd"])
def test_an_unknown_name_lists_the_known_ones_and_the_file_to_add(here: Path, name: str) -> None:
    put(here / "machines", "mine.yaml")

    with pytest.raises(AutoexpError) as caught:
        folders.find("machines", name, ".yaml")

    assert caught.value.what == f"unknown machine {name!r}"
    assert "local" in caught.value.why
    assert "mine" in caught.value.why
    assert caught.value.fix == f"correct the name, or add machines/{name}.yaml"


def test_without_any_the_error_says_none(here: Path) -> None:
    assert folders.search_path("recipes-of-nobody") == []
    with pytest.raises(AutoexpError, match="why: there are none"):
        folders.find("recipes-of-nobody", here.name, ".yaml")


def test_all_files_of_a_name_are_listed_the_one_that_hides_the_others_first(here: Path) -> None:
    put(here / "machines", "local.yaml", "mine.yaml")

    assert folders.versions("machines", "mine", ".yaml") == [here / "machines" / "mine.yaml"]
    assert folders.versions("machines", "nobody", ".yaml") == []
    first, *rest = folders.versions("machines", "local", ".yaml")
    assert (first, len(rest)) == (here / "machines" / "local.yaml", 1)
