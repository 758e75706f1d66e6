import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import crontab
from autoexp.errors import AutoexpError

ROOT = Path("/data/experiments")
TABLES = st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and b"\r" not in line)).map(
    lambda lines: b"".join(line + b"\n" for line in lines)
)


@pytest.fixture(autouse=True)
def no_var(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOEXP_VAR", raising=False)


def run_by_cron(line: str, folder: Path) -> list[str]:
    """Run a line's command as cron does, with a Python that tells its arguments."""
    command = line.removeprefix("*/5 * * * * ").replace("\\%", "%")
    said = folder / "said"
    (folder / "python").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\n')
    (folder / "python").chmod(0o755)
    subprocess.run(["/bin/sh", "-c", command], check=True, env={"HOME": str(folder), "PATH": os.environ["PATH"]})
    return said.read_text().splitlines()


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "100%", "$(touch pwned)", "a;b", "# c", "ü"])
def test_the_line_starts_a_watcher_of_a_root_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    root = tmp_path / name

    words = run_by_cron(crontab.line(root), tmp_path)

    assert words == ["-m", "autoexp", "watch", str(root), "--ensure", "--daemon"]
    assert not (Path.cwd() / "pwned").exists()


def test_another_var_is_asked_for_in_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOEXP_VAR", "/scratch/my var")

    assert f"--var {shlex.quote('/scratch/my var')}" in crontab.line(ROOT).replace("'\"'\"'", "'")


def test_a_root_with_a_line_end_in_its_name_is_refused() -> None:
    with pytest.raises(AutoexpError, match="it holds a line end"):
        crontab.line(Path("/data/a\nb"))


@given(TABLES)
def test_putting_a_line_in_and_taking_it_out_leaves_every_other_byte(table: bytes) -> None:
    put = crontab.with_line(table, ROOT)

    assert put == table + crontab.line(ROOT).encode() + b"\n"
    assert crontab.with_line(put, ROOT) == put
    assert crontab.without_line(put, ROOT) == table


def test_a_table_without_its_last_line_end_gets_it() -> None:
    assert crontab.with_line(b"0 1 * * * true", ROOT).startswith(b"0 1 * * * true\n*/5 ")


def test_an_older_line_is_replaced_where_it_stands_and_its_doubles_go() -> None:
    old = b"* * * * * old-python -m autoexp watch # autoexp watches /data/experiments\n"

    table = crontab.with_line(b"first\n" + old + b"between\n" + old, ROOT)

    assert table.splitlines() == [b"first", crontab.line(ROOT).encode(), b"between"]


def test_lines_of_other_roots_and_comments_are_not_ours() -> None:
    others = (
        b"* * * * * x # autoexp watches /data/experiments/more\n"
        b"* * * * * x # autoexp watches /other/data/experiments\n"
        b"# * * * * * x # autoexp watches /data/experiments\n"
    )

    assert crontab.without_line(others, ROOT) == others


def test_a_crontab_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crontab").write_text("#!/bin/sh\necho 'You are not allowed to use this program' >&2; exit 1\n")
    (tmp_path / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    with pytest.raises(AutoexpError, match="the crontab cannot be read\n  why: You are not allowed"):
        crontab.read()


def test_a_crontab_that_does_not_keep_what_it_is_given_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crontab").write_text("#!/bin/sh\nif [ $1 = - ]; then cat > /dev/null; else echo other; fi\n")
    (tmp_path / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    with pytest.raises(AutoexpError, match="cannot be written\n  why: it reads otherwise"):
        crontab.write(b"ours\n")


def test_without_a_crontab_command_systemd_is_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(AutoexpError, match=r"no crontab command(.|\n)*docs/operating.md"):
        crontab.read()


def test_a_root_has_its_line_or_has_not() -> None:
    table = crontab.with_line(b"# mine\n", ROOT)

    assert crontab.has_line(table, ROOT)
    assert not crontab.has_line(table, Path("/data"))
    assert not crontab.has_line(crontab.without_line(table, ROOT), ROOT)
