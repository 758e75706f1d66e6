import pytest

from autoexp.nccl.found import Log
from autoexp.nccl.table import bare, number, read

ROW = "  4096  1024  float  sum  -1  10.0  4.00  6.00  0  11.0  3.80  5.70  0"


def found(text: str) -> Log:
    log = Log()
    read(log, text)
    return log


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1.0), ("1.", 1.0), ("4.9231e-05", 4.9231e-05), ("1.0e+09", 1e9), ("N/A", None), ("1e", None), ("", None)],
)
def test_numbers_are_read_as_c_prints_them(word: str, value: float | None) -> None:
    assert number(word) == value


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("[1,0]<stdout>:# Avg", "# Avg"),
        ("node001: # Avg", "# Avg"),
        ("node001: Test NCCL failure x:1 'y'", "node001: Test NCCL failure x:1 'y'"),
        ("rccl-tests: Version develop:ae3e635", "rccl-tests: Version develop:ae3e635"),
        ("n1:1:1 [0] NCCL INFO x", "n1:1:1 [0] NCCL INFO x"),
        ("3: [rank3]:  8  2  float", "8  2  float"),
    ],
)
def test_labels_go_and_what_names_a_host_stays(line: str, left: str) -> None:
    assert bare(line) == left


def test_a_row_has_its_placements() -> None:
    (row,) = found(ROW).runs[0].rows

    assert [(half.algbw_gbps, half.busbw_gbps) for half in row.halves] == [(4.0, 6.0), (3.8, 5.7)]


def test_a_table_of_one_placement_is_whole_by_its_own_heading_only() -> None:
    short = "  4096  1024  float  sum  -1  10.0  4.00  6.00  0"
    heading = "#  size  count  type  redop  root  time  algbw  busbw  #wrong"

    assert found(short).broken == [short.strip()]
    assert len(found(f"{heading}\n{short}").runs[0].rows[0].halves) == 1


def test_a_collective_without_an_operation_leaves_its_column_blank() -> None:
    (row,) = found(ROW.replace("sum", "   ")).runs[0].rows

    assert row.halves[1].busbw_gbps == 5.7


def test_a_column_of_copies_and_a_date_shift_nothing() -> None:
    heading = "# size count type redop root time algbw busbw copybw #wrong time algbw busbw copybw #wrong timestamp"
    line = "4096 1024 float sum -1 10.0 4.00 6.00 99.0 0 11.0 3.80 5.70 98.0 0  2026-07-10 11:02:03"

    (row,) = found(f"{heading}\n{line}").runs[0].rows

    assert [half.busbw_gbps for half in row.halves] == [6.0, 5.7]


def test_an_error_that_rccl_stars_is_wrong_data_and_one_without_is_none() -> None:
    heading = "# size count type redop root time algbw busbw error time algbw busbw error"
    line = "4096 1024 float sum -1 10.0 4.00 6.00 2e-07 11.0 3.80 5.70 5e-06"

    assert found(f"{heading}\n{line}").runs[0].rows[0].wrong == 0
    assert found(f"{heading}\n{line}*").runs[0].rows[0].wrong == 1
    assert found(ROW[:-1] + "12*").runs[0].rows[0].wrong == 12


@pytest.mark.parametrize(
    ("kind", "error", "wrong"),
    [
        *(("float", "4e-07", 0), ("float", "1e+03", 1), ("float", "nan", 1), ("float", "inf", 1), ("float", "-2", 1)),
        *(("half", "4e-03", 0), ("half", "4e-01", 1), ("int32", "0e+00", 0), ("int32", "1e+00", 1)),
        ("float", "N/A", 0),
    ],
)
def test_an_error_that_no_sum_of_these_numbers_has_is_wrong_data(kind: str, error: str, wrong: int) -> None:
    heading = "# size count type redop root time algbw busbw error time algbw busbw error"
    line = f"4096 1024 {kind} sum -1 10.0 4.00 6.00 0e+00 11.0 3.80 5.70 {error}"

    assert found(f"{heading}\n{line}").runs[0].rows[0].wrong == wrong


def test_every_process_may_say_that_it_has_less_memory() -> None:
    header = "# nThread 1 nGpus 1 minBytes 8 maxBytes 64 step: 2(factor) warmup iters: 1\n"
    less = "# Reducing maxBytes to {} due to memory limitation\n"

    sweep = found(header + less.format(16) + less.format(32)).runs[0].sweep

    assert sweep is not None
    assert sweep.count() == 2


def test_cycles_of_rccl_are_one_test_and_tests_after_a_footer_are_others() -> None:
    heading = "# size count type redop root time algbw busbw #wrong time algbw busbw #wrong\n"
    footer = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 5.85\n"

    assert len(found(f"{heading}{ROW}\n# Testing 2 cycle.\n{heading}{ROW}\n{footer}").runs) == 1
    assert len(found(f"{heading}{ROW}\n{footer}{heading}{ROW}\n{footer}").runs) == 2


@pytest.mark.parametrize("part", ["x", "0: ", "*** JOB ", "[0] ", "\x1b[0m", "n1:1:1 "])
def test_a_line_without_end_is_read_like_any_other(part: str) -> None:
    assert len(found(f"{part * 300_000}\n{ROW}").runs[0].rows) == 1
