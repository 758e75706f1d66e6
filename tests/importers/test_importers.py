import pytest

from autoexp import importers
from autoexp.errors import AutoexpError


def test_a_dialect_is_found_by_its_name() -> None:
    assert "autoexperiment" in importers.known()
    assert callable(importers.find("autoexperiment").read)


def test_an_unknown_dialect_names_those_there_are() -> None:
    with pytest.raises(AutoexpError, match="unknown dialect 'makefile'") as told:
        importers.find("makefile")

    assert "autoexperiment" in told.value.why
