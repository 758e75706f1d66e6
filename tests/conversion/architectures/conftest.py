from collections.abc import Callable
from pathlib import Path

import pytest

from autoexp.conversion import legacy
from autoexp.conversion.traits import Traits, traits_of
from tests.conversion.megatron import Model, save_torch


@pytest.fixture
def traits_of_kind(tmp_path: Path) -> Callable[[str], Traits]:
    """Read the traits of a checkpoint of a kind."""

    def read(kind: str) -> Traits:
        folder = tmp_path / kind / "iter_0000006"
        return traits_of(legacy.read(folder if folder.exists() else save_torch(Model(kind=kind), folder)))

    return read
