import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import nccl
from autoexp.nccl import Asked, Code

GIB = 1 << 30

HEADING = """\
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""


def table(
    *placements: tuple[float, ...],
    ranks: int = 4,
    hosts: int = 2,
    average: str | None = None,
    wrong: str = "0",
    bounds: str = "0 OK",
    suffix: str = "",
    measured: int | None = None,
) -> str:
    """Print what nccl-tests prints for rows of two placements' bandwidths, sizes doubling from 1 GiB."""
    rows = placements or ((90.0, 91.0), (95.0, 94.0))
    mean = sum(sum(row) for row in rows) / sum(len(row) for row in rows)
    ratio = 2 - 2 / (measured or max(ranks, 2))
    limits = f"minBytes {GIB} maxBytes {GIB << len(rows) - 1}"
    text = f"# nThread 1 nGpus 1 {limits} step: 2(factor) warmup iters: 5 iters: 20\n#\n"
    text += "# Using devices\n"
    for rank in range(ranks):
        host = f"node{rank * hosts // ranks:03d}"
        text += f"#  Rank {rank:2d} Group  0 Pid {4000 + rank:6d} on {host} device  0 [0x07] GPU\n"
    text += "#\n" + HEADING
    for index, row in enumerate(rows):
        size = GIB << index
        halves = "".join(f"  1234.5  {value / ratio:6.2f}  {value:6.2f}  {wrong:>5}" for value in row)
        text += f"{size:12d}  {size // 4:12d}     float     sum      -1{halves}\n"
    text += f"# Out of bounds values : {bounds}\n"
    return text + f"# Avg bus bandwidth    : {average or f'{mean:g}'} {suffix}\n#\n\n"


def judge(text: str, **asked: Any) -> nccl.Verdict:
    return nccl.judge(nccl.read(text), Asked(**{"threshold_gbps": 80.0, **asked}))


def code(text: str, **asked: Any) -> Code:
    return judge(text, **asked).code


def test_sums_that_are_far_off_fail_though_the_footer_calls_them_ok() -> None:
    old = table(wrong="4e-07").replace("#wrong", " error")

    assert code(old) is Code.PASS
    assert code(old.replace("4e-07", "1e+03")) is Code.WRONG_DATA


# The number that counts.


def test_the_bandwidth_is_the_lower_placement_at_the_largest_size() -> None:
    verdict = judge(table((200.0, 200.0), (90.0, 85.0)), ranks=4, hosts=2)

    assert verdict.as_json() == {
        "verdict": "pass",
        "code": 0,
        "cause": "fast enough",
        "busbw_gbps": 85.0,
        "threshold_gbps": 80.0,
        "ranks": 4,
        "suspects": [],
    }


def test_a_sweep_from_small_sizes_passes_although_its_average_is_far_below() -> None:
    assert code(table((0.01, 0.01), (0.5, 0.5), (12.3, 12.3), (95.0, 94.0))) is Code.PASS


def test_a_large_size_below_the_threshold_fails_although_a_smaller_one_is_above() -> None:
    verdict = judge(table((200.0, 200.0), (90.0, 79.99)))

    assert (verdict.code, verdict.busbw_gbps) == (Code.SLOW, 79.99)


def test_the_threshold_itself_passes() -> None:
    assert code(table((80.0, 80.0))) is Code.PASS


def test_the_slowest_of_several_tests_in_one_log_decides() -> None:
    assert code(table((90.0, 90.0)) + table((70.0, 70.0)) + table((90.0, 90.0))) is Code.SLOW
    assert judge(table((90.0, 90.0)) + table((88.0, 88.0))).busbw_gbps == 88.0


def test_a_dead_link_in_scientific_notation_is_slow_and_not_misread() -> None:
    assert code(table((0.0, 0.0), average="4.9231e-05")) is Code.SLOW


# What is printed around the table.

LABELS = [
    "[0] ",
    "node001: ",
    "2026-07-10T11:02:03.000000000Z ",
    "\x1b[32m0: \x1b[0m",
    "0: ",
    " 0: ",
    "[1,0]<stdout>:",
    "[prterun-h-1@1,0]<stdout>: ",
    "[default0]:",
    "[rank0]:",
    "[n01:3]: ",
]


@pytest.mark.parametrize("label", [*LABELS, "Fri Nov 20 21:40:01 2026[1,0]<stdout>:", "0: [rank0]:"])
def test_labels_of_launchers_are_taken_off(label: str) -> None:
    text = "\n".join(label + line for line in table().splitlines())

    assert judge(text, ranks=4, hosts=2).code is Code.PASS


def test_lines_of_nccl_between_the_lines_are_passed_over() -> None:
    noise = "gpu01:51200:51231 [0] NCCL INFO comm 0x55d0 rank 0 nranks 4 cudaDev 0 busId 7000 - Init COMPLETE"
    text = "\n".join(f"{line}\n{noise}" for line in table().splitlines())

    assert code(text, ranks=4, hosts=2) is Code.PASS


def test_a_log_with_carriage_returns_is_read() -> None:
    assert code(table().replace("\n", "\r\n")) is Code.PASS


def test_what_is_appended_to_the_rows_does_not_shift_the_columns() -> None:
    text = "\n".join(
        f"{line}  2026-11-20 21:40:01" if line.strip().startswith(("1", "2")) else line for line in table().splitlines()
    )

    assert judge(text).busbw_gbps == 94.0


def test_columns_inserted_in_the_middle_are_found_by_the_heading() -> None:
    old, new = "   busbw #wrong     time", "   busbw #wrong  i_min  i_max     time"
    text = "\n".join(
        line.replace("0  1234.5", "0  1.0  9999.0  1234.5", 1) if line.strip()[:1].isdigit() else line.replace(old, new)
        for line in table().splitlines()
    )
    assert "i_min" in text
    assert "9999.0" in text

    assert judge(text).busbw_gbps == 94.0


def test_the_form_of_rccl_is_read() -> None:
    text = table().replace(" Group  0", "").replace("[0x07]", "[0000:0c:00.0]")
    text = text.replace("# Using", "rccl-tests: Version develop:ae3e635\n# Using")
    text = text.replace("# Out of", "# Errors with asterisks indicate errors that exceed the threshold.\n# Out of")

    assert code(text, ranks=4, hosts=2) is Code.PASS


def test_results_that_were_not_checked_or_not_run_are_no_error() -> None:
    assert code(table(wrong="N/A")) is Code.PASS
    rows = table((90.0, 12.0), average="90")
    assert judge(rows.replace("  1234.5    8.00   12.00      0", "  N/A  N/A  N/A  N/A")).busbw_gbps == 90.0


# What cannot be judged fails.


@pytest.mark.parametrize("text", ["", "\n\n", "hello", "srun: error: Unable to create step", "\0" * 100, "{", "{}"])
def test_no_table_is_unreadable(text: str) -> None:
    assert code(text) is Code.UNREADABLE


@given(share=st.floats(0, 1))
def test_an_output_cut_anywhere_never_passes_unless_nothing_but_the_end_is_gone(share: float) -> None:
    text = table()
    cut = text[: int(share * len(text))]

    assert code(cut) is Code.UNREADABLE or "Avg bus bandwidth    : 92" in cut


@given(lost=st.sets(st.integers(0, 11), min_size=1), start=st.integers(1, 5))
def test_lost_lines_of_a_sweep_are_noticed(lost: set[int], start: int) -> None:
    rows = tuple((float(start << index),) * 2 for index in range(12))
    lines = table(*rows).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith(f"{GIB:12d}"))

    text = "\n".join(line for index, line in enumerate(lines) if index - first not in lost)

    assert code(text, threshold_gbps=0.5) is Code.UNREADABLE


@pytest.mark.parametrize("word", ["-nan", "nan", "inf", "-inf", "-1", "1.5.5", "1_0", "0x10", "٤", "95,0"])
def test_a_number_that_is_none_is_unreadable_wherever_it_stands(word: str) -> None:
    assert code(table(average=word)) is Code.UNREADABLE
    assert code(table().replace(" 94.00 ", f" {word} ")) is Code.UNREADABLE


@pytest.mark.parametrize(
    "line",
    [
        "  4294967296    1073741824     float     sum      -1   29slurmstepd: error: *** JOB 22 CANCELLED",
        "# Avg bus bandwidth    : ",
        "# Avg bus bandwidth    : 92.5",
        "# Out of bounds values : 0 OK",
        "# Out of bounds values : x OK",
        "# error: something",
        "node001: Test NCCL failure common.cu:1007 'unhandled system error / Connection reset'",
    ],
)
def test_a_broken_line_or_a_second_footer_is_a_contradiction(line: str) -> None:
    assert code(f"{table()}\n{line}\n") is Code.UNREADABLE


@pytest.mark.parametrize("bounds", ["0 FAILED", "3 OK"])
def test_a_count_that_its_own_word_contradicts_cannot_be_judged(bounds: str) -> None:
    assert code(table(bounds=bounds)) is Code.UNREADABLE


def test_a_bandwidth_below_nothing_is_no_bandwidth() -> None:
    assert code(table((-1.0, -1.0))) is Code.UNREADABLE


def test_absurd_numbers_overflow_nothing() -> None:
    assert code(table((1.0, 1.0), (1.0, 1.0)).replace(" 1.00 ", " 1e308 ")) is Code.UNREADABLE


def test_a_footer_that_is_one_percent_off_still_agrees_and_two_percent_do_not() -> None:
    assert code(table((100.0, 100.0), average="100.9")) is Code.PASS
    assert code(table((100.0, 100.0), average="102.1")) is Code.UNREADABLE


@pytest.mark.parametrize("rows", [((90.0, 91.0),), ((90.0, 91.0), (95.0, 94.0)), ((90.0, 90.0),) * 3])
def test_a_row_that_stands_there_twice_is_a_contradiction(rows: tuple[tuple[float, float], ...]) -> None:
    lines = table(*rows).splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if "float" in line)

    assert code("".join([*lines[:last], lines[last] * 2, *lines[last + 1 :]]), excerpt=True) is Code.UNREADABLE


def test_a_row_that_a_quoted_table_has_twice_is_one_too() -> None:
    text = excerpt((60.0, 60.0))
    line = next(line for line in text.splitlines() if "float" in line)

    assert code(text, excerpt=True, threshold_gbps=5.0) is Code.PASS
    assert code(text.replace(line, f"{line}\n{line}"), excerpt=True, threshold_gbps=5.0) is Code.UNREADABLE


def test_cycles_and_several_types_are_measured_at_every_size_once_more() -> None:
    lines = table((90.0, 91.0), (95.0, 94.0)).splitlines(keepends=True)
    first, last = [number for number, line in enumerate(lines) if "float" in line]
    again = [line.replace("1234.5", "1234.6") for line in lines[first : last + 1]]
    types = [line.replace("float", "  half") for line in lines[first : last + 1]]

    assert code("".join([*lines[: last + 1], *again, *lines[last + 1 :]])) is Code.PASS
    assert code("".join([*lines[: last + 1], *types, *lines[last + 1 :]])) is Code.PASS
    assert code("".join([*lines[: last + 1], again[0], *lines[last + 1 :]])) is Code.UNREADABLE


def test_a_whole_cycle_that_stands_there_twice_word_by_word_was_printed_twice() -> None:
    lines = table((90.0, 91.0), (95.0, 94.0)).splitlines(keepends=True)
    first, last = [number for number, line in enumerate(lines) if "float" in line]

    verdict = judge("".join([*lines[: last + 1], *lines[first:]]))

    assert (verdict.code, "is there twice" in verdict.cause) == (Code.UNREADABLE, True)


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("digit", range(10))
def test_a_size_that_lost_a_digit_is_not_the_one_whose_turn_it_is(row: int, digit: int) -> None:
    text = table(*[(90.0, 90.0)] * 3)
    size = str(GIB << row)

    verdict = judge(text.replace(f"\n  {size} ", f"\n  {size[:digit]}{size[digit + 1 :]} "))

    assert (verdict.code, "turn" in verdict.cause) == (Code.UNREADABLE, True)


def test_sizes_that_are_rounded_down_so_that_they_can_be_shared_out_are_those_asked_for() -> None:
    assert code(table(ranks=3, hosts=3).replace(f"\n  {GIB} ", f"\n  {GIB - GIB % 48} ")) is Code.PASS


def test_a_byte_order_mark_before_the_text_is_let_be() -> None:
    assert code("\ufeff" + table()) is Code.PASS


def test_wrong_counts_of_both_signs_do_not_cancel() -> None:
    text = table((90.0, 90.0), wrong="1")

    assert code(text.replace("    1\n", "   -1\n")) is Code.WRONG_DATA


def test_a_check_of_newer_versions_that_failed_fails() -> None:
    failed = table().replace("# Avg", "# Bitwise mismatches : 12 FAILED\n# Avg")

    assert (judge(failed).code, judge(failed).cause) == (Code.UNREADABLE, "# Bitwise mismatches : 12 FAILED")


def test_more_sizes_than_were_to_be_measured_are_a_contradiction() -> None:
    assert code(table().replace(f"maxBytes {2 * GIB}", f"maxBytes {GIB}")) is Code.UNREADABLE


STARTING = "# nccl-tests version 2.19.6\n# Collective test starting: all_reduce_perf\n"
CONCLUDED = "# Collective test concluded: all_reduce_perf\n#\n\n"


@pytest.mark.parametrize("tests", [1, 2, 3])
def test_of_several_tests_in_one_log_each_that_began_must_be_concluded(tests: int) -> None:
    one = f"{STARTING}{table().rstrip()}\n{CONCLUDED}"

    assert code(one * tests) is Code.PASS
    for line in range(1, len(one.splitlines()) - len(CONCLUDED.splitlines())):
        begun = "".join(one.splitlines(keepends=True)[:line])
        assert code(one * (tests - 1) + begun) is Code.UNREADABLE


@pytest.mark.parametrize("label", ["", "0: "])
def test_an_average_that_ends_the_text_without_a_line_end_may_be_cut(label: str) -> None:
    text = "".join(f"{label}{line}" for line in table((100.0, 100.5)).splitlines(keepends=True))
    average = text.index("100.25 ")

    for end in range(average, average + 7):
        assert code(text[:end]) is Code.UNREADABLE
    assert code(f"{text[: average + 6]}\n") is Code.PASS


def test_sizes_in_steps_of_bytes_are_counted_too() -> None:
    steps = f"maxBytes {2 * GIB} step: {GIB}(bytes)"
    assert code(table().replace(f"maxBytes {2 * GIB} step: 2(factor)", steps)) is Code.PASS
    assert (
        code(table().replace(f"maxBytes {2 * GIB} step: 2(factor)", steps.replace("2147", "3221"))) is Code.UNREADABLE
    )


def test_sizes_that_the_tool_left_out_for_want_of_memory_are_not_missed() -> None:
    text = table().replace(f"maxBytes {2 * GIB}", f"maxBytes {8 * GIB}")
    assert code(text) is Code.UNREADABLE

    reduced = f"# Reducing maxBytes to {2 * GIB} due to memory limitation\n# Using"
    assert code(text.replace("# Using", reduced)) is Code.PASS


def test_a_lost_beginning_is_torn_but_in_an_excerpt_on_purpose() -> None:
    text = table((90.0, 90.0), (95.0, 95.0), average="60").partition("redop")[2]

    assert code(text) is Code.UNREADABLE
    assert judge(text, excerpt=True).busbw_gbps == 95.0
    assert code(table((90.0, 90.0), (95.0, 95.0), average="60"), excerpt=True) is Code.UNREADABLE


def excerpt(*rows: tuple[float, float], without: int | None = None, average: str = "60") -> str:
    """Cut a table before its heading, as issues quote it, and leave a row out."""
    lines = f"{HEADING}{table(*rows, average=average).partition(HEADING)[2]}".splitlines()
    return "\n".join(line for number, line in enumerate(lines) if number - 3 != without)


def test_a_quoted_table_may_leave_rows_out_where_that_can_be_seen() -> None:
    rows = ((10.0, 10.0), (40.0, 40.0), (70.0, 70.0), (90.0, 90.0))

    assert judge(excerpt(*rows, without=2), excerpt=True).busbw_gbps == 90.0
    assert "rows are lost" in judge(excerpt(*rows), excerpt=True).cause
    assert code(excerpt(*rows, average="52.5"), excerpt=True) is Code.PASS


def test_an_excerpt_takes_its_ranks_from_the_ratio_of_the_two_bandwidths() -> None:
    text = table((90.0, 90.0), (95.0, 95.0)).partition("redop")[2]

    assert judge(text, excerpt=True, ranks=4).ranks == 4
    assert code(text, excerpt=True, ranks=8) is Code.TOPOLOGY
    assert code(text, excerpt=True, ranks=4, hosts=2) is Code.UNREADABLE


def test_an_excerpt_takes_its_ranks_and_hosts_from_nccls_own_lines() -> None:
    line = "gpu0{}:1:1 [0] NCCL INFO comm 0x60 rank 0 nranks 4 cudaDev 0 busId 30000 - Destroy COMPLETE\n"
    text = line.format(1) + line.format(2) + table((90.0, 90.0)).partition("redop")[2]

    assert judge(text, excerpt=True, hosts=2).ranks == 4
    assert code(text, excerpt=True, ranks=8) is Code.TOPOLOGY
    assert code(text, excerpt=True, hosts=4) is Code.TOPOLOGY


def test_a_failed_program_does_not_pass_on_a_good_table() -> None:
    assert code(table(), status=1) is Code.UNREADABLE
    assert "exit status is 3" in judge(table(), status=3).cause


# The other codes.


def test_wrong_data_outweighs_speed_and_a_torn_end() -> None:
    assert code(table(wrong="16384"), status=7) is Code.WRONG_DATA
    assert code(table(bounds="1 FAILED")) is Code.WRONG_DATA
    assert code(table((1.0, 1.0), wrong="1e+06")) is Code.WRONG_DATA
    assert code(table(wrong="3").partition("# Out")[0]) is Code.WRONG_DATA
    assert code(table(wrong="nan")) is Code.WRONG_DATA


def test_the_tools_own_minimum_counts_although_it_ends_the_line() -> None:
    assert code(table(suffix="FAILED"), status=7) is Code.SLOW
    assert code(table(suffix="OK")) is Code.PASS


def test_a_timeout_of_ours_or_the_tools_is_one() -> None:
    assert code(table(), timed_out=True) is Code.TIMEOUT
    assert code("", status=4) is Code.TIMEOUT
    verdict = judge("node007: Test timeout (60s) common.cu:700\n")
    assert (verdict.code, verdict.suspects) == (Code.TIMEOUT, ("node007",))


def test_programs_that_do_not_know_each_other_are_no_run() -> None:
    side_by_side = "\n".join(line for line in table((0.0, 0.0), ranks=1).splitlines() for _ in range(2))

    assert code(side_by_side) is Code.TOPOLOGY
    assert code(table((0.0, 0.0), ranks=1) * 2) is Code.TOPOLOGY
    header = side_by_side.splitlines()[0]
    assert code(side_by_side.replace(header, "", 1)) is Code.TOPOLOGY, "each has a rank 0"
    assert code("\n".join(line for line in table().splitlines() for _ in range(2))) is Code.TOPOLOGY


def test_the_ranks_and_hosts_asked_for_must_be_there() -> None:
    assert code(table(ranks=1, hosts=1)) is Code.TOPOLOGY
    assert code(table(), ranks=8) is Code.TOPOLOGY
    assert code(table(), ranks=4, hosts=4) is Code.TOPOLOGY
    assert code("Invalid number of GPUs: 8 requested but only 7 were found.\n", status=5) is Code.TOPOLOGY
    assert code(table().replace("#  Rank  2", "#  Rink  2"), ranks=3) is Code.UNREADABLE


def test_a_list_of_ranks_that_was_cut_at_its_end_is_no_smaller_run() -> None:
    text = table(ranks=8).replace("nThread 1 nGpus 1", "nThread 1 nGpus 8")
    assert code(text, ranks=8) is Code.PASS

    cut = "\n".join(line for line in text.splitlines() if "#  Rank  7" not in line)
    assert code(cut, ranks=7) is Code.UNREADABLE


def test_groups_of_which_only_the_first_reports_are_not_the_whole() -> None:
    text = (
        table(ranks=4).replace("Rank  2 Group  0", "Rank  2 Group  1").replace("Rank  3 Group  0", "Rank  3 Group  1")
    )

    assert code(text, ranks=4) is Code.TOPOLOGY
    assert "NCCL_TESTS_SPLIT" in judge(text).cause


def test_bandwidths_of_fewer_ranks_than_are_listed_are_of_a_part_of_them() -> None:
    text = table(ranks=16, measured=4)

    assert "of 4 ranks, not of 16" in judge(text, ranks=16).cause
    assert code(text) is Code.TOPOLOGY


def test_a_job_whose_time_was_up_before_the_first_size_was_measured_hung() -> None:
    limit = "slurmstepd: error: *** STEP 22.0 ON node001 CANCELLED AT 2026-07-10T11:05:02 DUE TO TIME LIMIT ***"

    assert code(f"{table().partition(HEADING)[0]}{HEADING}{limit}\n") is Code.TIMEOUT
    assert code(f"{table().partition('# Out')[0]}{limit}\n") is Code.UNREADABLE
    assert code(f"{table()}{limit}\n") is Code.PASS


def test_the_host_whose_gpu_failed_is_the_suspect_and_not_those_that_lost_it() -> None:
    text = "gpu3: Test NCCL failure a:1 'x'\n .. gpu3 pid 7: Test failure a:9\ngpu4: Test CUDA failure a:1"

    assert judge(text).suspects == ("gpu4",)


def test_where_nobody_can_be_blamed_the_cause_says_so() -> None:
    text = "gpu3: Test NCCL failure a:1 'remote process exited or there was a network error / '\n"

    verdict = judge(text)

    assert verdict.suspects == ()
    assert verdict.cause.endswith("which host failed first cannot be told")
    assert len(judge(text.replace(" / '", "x" * 400 + "'")).cause) == 300


# Any text at all.

LINES = st.sampled_from(table(ranks=2).splitlines() + table((1.0, 1.0), ranks=2).splitlines())
GARBAGE = st.text() | st.text(alphabet="# 0123456789.\n{}[]|:naif-sumtlo*")


@given(text=GARBAGE | GARBAGE.map(lambda text: table() + text) | st.lists(LINES | GARBAGE).map("\n".join))
def test_no_text_raises_and_every_verdict_is_json(text: str) -> None:
    verdict = judge(text, excerpt=True)

    json.dumps(verdict.as_json(), allow_nan=False)
    assert verdict.busbw_gbps is None or math.isfinite(verdict.busbw_gbps)


@given(text=GARBAGE)
def test_garbage_never_passes(text: str) -> None:
    assert code(text, excerpt=True, threshold_gbps=1e-9) is not Code.PASS


@given(lines=st.lists(LINES, min_size=1), ranks=st.sampled_from([None, 2]))
def test_lines_of_good_tables_shuffled_pass_only_with_a_fast_row_and_a_footer_that_agrees(
    lines: list[str], ranks: int | None
) -> None:
    verdict = judge("\n".join(lines), ranks=ranks)

    if verdict.code is Code.PASS:
        assert verdict.busbw_gbps == 94.0
        assert sum(line.startswith("# Avg") for line in lines) == sum(line.startswith("# nThread") for line in lines)


def mutate(text: str, place: int, junk: str) -> str:
    place %= len(text)
    return text[:place] + junk + text[place + len(junk) :]


@given(place=st.integers(0, 10_000), junk=st.text(min_size=1, max_size=12))
def test_a_text_damaged_in_one_place_never_claims_more_speed_than_it_had(place: int, junk: str) -> None:
    verdict = judge(mutate(table((90.0, 90.0), (95.0, 94.0), (96.0, 95.0)), place, junk), ranks=4, hosts=2)

    assert verdict.code is not Code.PASS or verdict.busbw_gbps is not None
    if verdict.code is Code.PASS:
        assert abs((verdict.busbw_gbps or 0.0) - 95.0) < 95.0 * 0.07, "the footer's average holds what a row may claim"
