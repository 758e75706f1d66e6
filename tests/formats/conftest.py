from pathlib import Path

import pytest

from tests.formats import make


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return make.legacy(tmp_path / "iter_0000006")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make.distributed(tmp_path / "iter_0000006")
