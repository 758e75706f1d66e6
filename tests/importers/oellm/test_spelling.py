import pytest

from autoexp.flags.megatron import FLAGS
from autoexp.importers.oellm.spelling import ODD, ODDLY_OFF, false_of, flag_of, off_of


@pytest.mark.parametrize(
    ("name", "flag", "off"),
    [
        ("lr", "lr", None),
        ("fp8", "fp8-format", None),
        ("use_flash_attn", "use-flash-attn", None),
        ("align_param_gather", "align-param-gather", "no-align-param-gather"),
        ("tp_comm_overlap_ag", "tp-comm-overlap-ag", "disable-tp-comm-overlap-ag"),
        ("overlap_p2p_comm", "overlap-p2p-comm", "no-overlap-p2p-communication"),
        ("ckpt_fully_parallel_save", "ckpt-fully-parallel-save", "no-ckpt-fully-parallel-save"),
        ("nobody_knows", "nobody-knows", None),
    ],
)
def test_a_setting_is_spelled_as_the_flag_that_gives_it_or_switches_it_off(
    name: str, flag: str, off: str | None
) -> None:
    assert (flag_of(name), off_of(name)) == (flag, off)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("yarn_correction_range_round_to_int", "no-yarn-correction-range-round-to-int"),
        ("align_param_gather", "no-align-param-gather"),
        ("bf16", None),
    ],
)
def test_what_is_false_is_said_where_its_flag_has_a_negative(name: str, flag: str | None) -> None:
    assert false_of(name) == flag


def test_what_is_spelled_oddly_is_a_flag_that_megatron_has() -> None:
    assert {*ODD.values(), *ODDLY_OFF.values()} <= FLAGS
