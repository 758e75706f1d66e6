import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import backends, tail
from autoexp.errors import AutoexpError
from autoexp.logs import BEGINS_AGAIN, LogFacts
from autoexp.model import EndingClass, Rule
from autoexp.tail import CHUNK_BYTES, read_on

COMMAND, MEGATRON = backends.find("command"), backends.find("megatron")
REPORT = " iteration {0:8d}/      40 | lm loss: 2.5E+00 | number of nan iterations:   0 |\n"
LINES = [REPORT.format(1), REPORT.format(2), "  successfully saved checkpoint from iteration 2 to x\n", "\n", "ä\n"]
LINES += [
    "CUDA out of memory. Tried to allocate\n",
    "10%\r20%\r\n",
    "  loading checkpoint from x at iteration 7\n",
    "\xff tail\n",
]


def test_a_log_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert read_on(tmp_path / "log", LogFacts(), COMMAND) == LogFacts()


def test_what_a_log_tells_is_read_from_its_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(REPORT.format(3) + "torch.OutOfMemoryError: CUDA out of memory.\n\n")

    facts = read_on(log, LogFacts(), MEGATRON)

    assert (facts.iteration, facts.train_iters, facts.loss) == (3, 40, 2.5)
    assert (facts.symptom, facts.last_line) == (EndingClass.GPU_OOM, "torch.OutOfMemoryError: CUDA out of memory.")
    assert (facts.inode, facts.offset) == (log.stat().st_ino, log.stat().st_size)


@given(st.lists(st.sampled_from(LINES), max_size=12).map("".join), st.lists(st.integers(0, 400), max_size=8))
def test_a_log_read_in_pieces_tells_what_it_tells_at_once(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    data = text.encode(errors="surrogatepass")
    growing = LogFacts()
    for cut in sorted(cuts):
        (folder / "log").write_bytes(data[:cut]) if not (folder / "log").exists() else _extend(
            folder / "log", data[:cut]
        )
        growing = read_on(folder / "log", growing, MEGATRON)
    _extend(folder / "log", data)
    growing = read_on(folder / "log", growing, MEGATRON, ended=True)

    assert growing == read_on(folder / "log", LogFacts(), MEGATRON, ended=True)


def _extend(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data[file.tell() :])


def test_a_line_is_read_once_its_end_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nsec")
    first = read_on(log, LogFacts(), COMMAND)
    with log.open("a") as file:
        file.write("ond\n")

    assert (first.last_line, first.offset) == ("first", 6)
    assert read_on(log, first, COMMAND).last_line == "second"


@pytest.mark.parametrize("end", ["", "\r"], ids=["nothing", "a carriage return"])
def test_a_programs_last_words_count_without_a_line_end_once_it_has_ended(tmp_path: Path, end: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"first\nCUDA out of memory{end}")

    facts = read_on(log, LogFacts(), COMMAND, ended=True)

    assert (facts.symptom, facts.last_line) == (EndingClass.GPU_OOM, "CUDA out of memory")
    assert facts.offset == log.stat().st_size


def test_reading_an_ended_log_again_changes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("words")
    facts = read_on(log, LogFacts(), COMMAND, ended=True)

    assert read_on(log, facts, COMMAND, ended=True) == facts


def test_a_shortened_log_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long first line\n")
    facts = read_on(log, LogFacts(), COMMAND)

    log.write_text("short\n")

    assert read_on(log, facts, COMMAND).last_line == "short"


def test_another_file_in_its_place_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(REPORT.format(7))
    facts = read_on(log, LogFacts(), MEGATRON)

    (tmp_path / "new").write_text(REPORT.format(2) + REPORT.format(3))
    (tmp_path / "new").replace(log)

    assert read_on(log, facts, MEGATRON).iteration == 3


def test_lines_longer_than_a_chunk_do_not_stop_the_reading(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (3 * CHUNK_BYTES) + b"\nend\n")

    facts = read_on(log, LogFacts(), COMMAND)

    assert (facts.last_line, facts.offset) == ("end", log.stat().st_size)


def test_one_look_reads_so_much_and_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LOOK_BYTES", CHUNK_BYTES)
    log = tmp_path / "log"
    log.write_bytes(b"x\n" * CHUNK_BYTES + b"end\n")

    looks = [read_on(log, LogFacts(), COMMAND)]
    while looks[-1].behind:
        looks.append(read_on(log, looks[-1], COMMAND))

    assert [look.offset for look in looks] == [CHUNK_BYTES, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 4]
    assert looks[-1].last_line == "end"


RESET, OOM = "Connection reset by peer", "CUDA out of memory"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        pytest.param([RESET, OOM], EndingClass.GPU_OOM, id="a cause after a hint"),
        pytest.param([OOM, RESET], EndingClass.GPU_OOM, id="what others say then"),
        pytest.param([OOM, "DUE TO TIME LIMIT"], EndingClass.TIME_LIMIT, id="the scheduler knows best"),
        pytest.param([RESET, REPORT.format(5)], None, id="the training went on"),
        pytest.param(["DUE TO PREEMPTION", REPORT.format(5)], EndingClass.PREEMPTED, id="it goes on to save"),
    ],
)
def test_of_several_symptoms_the_strongest_counts_unless_the_training_went_on(
    tmp_path: Path, lines: list[str], kind: EndingClass | None
) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{line}\n" for line in lines))

    assert read_on(log, LogFacts(), MEGATRON).symptom is kind


FAREWELL = """\
E1122 14:01:23.237000 4680 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


@pytest.mark.parametrize("said", ["ValueError: no such layer\n", "train: it failed\n  why: so\n  fix: mend it\n"])
@pytest.mark.parametrize("seen_before", [0, 1, 2])
def test_torchruns_farewell_is_no_programs_last_word(tmp_path: Path, said: str, seen_before: int) -> None:
    log, facts = tmp_path / "log", LogFacts()
    pieces = [said, FAREWELL[: FAREWELL.index("Trace")], FAREWELL[FAREWELL.index("Trace") :]]
    for piece in ["".join(pieces[: seen_before + 1]), *pieces[seen_before + 1 :]]:
        with log.open("a") as file:
            file.write(piece)
        facts = read_on(log, facts, COMMAND)

    assert facts.last_line == said.splitlines()[0] + (": so" if "why" in said else "")


def test_a_programs_own_rule_is_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"bye\n{'=' * 60}\n")

    assert read_on(log, LogFacts(), COMMAND).last_line == "=" * 60


def test_the_last_line_is_shortened(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("y" * 1000 + "\n")

    assert read_on(log, LogFacts(), COMMAND).last_line == "y" * 200


def test_a_fifo_in_its_place_is_an_error_that_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")

    with pytest.raises(OSError, match="no regular file"):
        read_on(tmp_path / "log", LogFacts(), COMMAND)


ERROR = str(AutoexpError("hf is in the way", why="a link\n  that leads nowhere", fix="move it"))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (f"begun\nconvert: {ERROR}\n", "convert: hf is in the way: a link"),
        (f"begun\nconvert: {ERROR}\n\n", "convert: hf is in the way: a link"),
        (f"convert: {ERROR}\nslurmstepd: error\n", "slurmstepd: error"),
        ("begun\nfix: it\n", "fix: it"),
    ],
)
def test_of_an_error_of_ours_what_happened_and_why_are_its_last_words(tmp_path: Path, text: str, last: str) -> None:
    log = tmp_path / "output.log"
    log.write_text(text)

    assert read_on(log, LogFacts(), COMMAND).last_line == last


def test_an_error_of_ours_is_told_though_its_lines_come_one_by_one(tmp_path: Path) -> None:
    log, facts = tmp_path / "output.log", LogFacts()
    for line in ("convert: hf is in the way\n", "  why: a link\n", "  fix: move it\n"):
        with log.open("a") as opened:
            opened.write(line)
        facts = read_on(log, facts, COMMAND)

    assert facts.last_line == "convert: hf is in the way"


def test_what_a_rule_waits_for_is_found_once_however_the_log_grows(tmp_path: Path) -> None:
    path, backend = tmp_path / "output.log", backends.find("command")
    rules = (Rule(name="spike", log="spike ([0-9]+)", limit=5),)
    path.write_bytes(b"begin\nspike 1\nspi")
    first = read_on(path, LogFacts(), backend, rules=rules)
    _extend(path, b"begin\nspike 1\nspike 2\nspike 3")

    grown = read_on(path, first, backend, rules=rules, ended=True)

    assert [(match.offset, match.groups["1"]) for match in first.matches] == [(6, "1")]
    assert [(match.offset, match.groups["1"]) for match in grown.matches] == [(6, "1"), (14, "2"), (22, "3")]
    assert read_on(path, LogFacts(), backend, rules=rules, ended=True).matches == grown.matches


def test_a_log_full_of_matches_is_read_a_few_of_them_at_a_time(tmp_path: Path) -> None:
    path, rules = tmp_path / "output.log", (Rule(name="spike", log="spike", limit=60), Rule(name="2", log="7 spike"))
    path.write_bytes(b"".join(b"%d spike%s" % (number, b"\r\n"[number % 2 :]) for number in range(100)))
    facts, looks = read_on(path, LogFacts(), COMMAND, rules=rules), 1

    assert len(facts.matches) == tail.LOOK_MATCHES
    while facts.behind:
        facts, looks = read_on(path, facts, COMMAND, rules=rules), looks + 1

    assert looks == 4
    assert len(facts.matches) == 61
    assert len({match.offset for match in facts.matches}) == 60
    assert (facts.offset, facts.last_line) == (path.stat().st_size, "99 spike")


def test_an_attempt_that_was_queued_again_is_judged_by_its_last_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    cut = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:00:00 DUE TO JOB REQUEUE ***\n"
    log.write_text(f"{cut}{BEGINS_AGAIN}\n")

    first = read_on(log, LogFacts(), COMMAND)
    assert first.symptom is None
    with log.open("a") as file:
        file.write("torch.OutOfMemoryError: CUDA out of memory.\n")
    assert read_on(log, first, COMMAND).symptom is EndingClass.GPU_OOM
