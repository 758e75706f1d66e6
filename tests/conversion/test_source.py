import pytest

from autoexp.conversion.source import check_version, checked
from autoexp.errors import AutoexpError
from autoexp.torchfile import Tensor


@pytest.mark.parametrize("version", [None, 0, 1.0, 4.0, "3.0"])
def test_versions_with_another_order_of_rows_are_refused(version: object) -> None:
    with pytest.raises(AutoexpError, match="checkpoint_version"):
        check_version(version)
    check_version(2.0)
    check_version(3.0)


def test_only_plain_tensors_of_numbers_are_weights() -> None:
    plain = Tensor(dtype="bfloat16", shape=(2,), contiguous=True, start_bytes=0, item_bytes=2)
    assert checked("x", plain) is plain

    for tensor in (
        None,
        Tensor(dtype="uint8", shape=(2,), contiguous=True, start_bytes=0, item_bytes=1),
        Tensor(dtype="float32", shape=(2, 2), contiguous=False, start_bytes=0, item_bytes=4),
    ):
        with pytest.raises(AutoexpError, match="x is "):
            checked("x", tensor)
