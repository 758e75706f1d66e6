import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from autoexp.daemon import LARGEST_BYTES


def detached(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program that detaches itself, and wait for the process that was called."""
    text = f"import os, sys, time\nfrom pathlib import Path\nfrom autoexp.daemon import detach\n{dedent(script)}"
    command = [sys.executable, "-c", text]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_caller_is_let_go_once_we_settled_and_what_we_print_goes_to_the_file(
    tmp_path: Path, wait: Callable[..., Any]
) -> None:
    done = detached(
        """
        here = detach()
        print("before")
        here.settle(Path("log"))
        print("after", flush=True)
        print("wrong", file=sys.stderr, flush=True)
        Path("done").touch()
        while not Path("go").exists(): time.sleep(0.02)
        """,
        tmp_path,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "before\n", "")
    wait((tmp_path / "done").exists)
    assert (tmp_path / "log").read_text() == "after\nwrong\n"
    (tmp_path / "go").touch()


def test_it_has_a_session_of_its_own_and_no_input(tmp_path: Path, wait: Callable[..., Any]) -> None:
    detached(
        """
        detach().settle(Path("log"))
        print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()), flush=True)
        """,
        tmp_path,
    )

    wait(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text() == "True ''\n")


def test_what_goes_wrong_before_is_said_to_the_caller_with_our_status(tmp_path: Path) -> None:
    done = detached("detach()\nsys.exit('it cannot be')", tmp_path)

    assert (done.returncode, done.stderr) == (1, "it cannot be\n")


def test_a_large_file_is_put_aside_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * (LARGEST_BYTES + 1))

    detached('detach().settle(Path("log"))', tmp_path)

    assert (tmp_path / "log.1").stat().st_size == LARGEST_BYTES + 1
    assert (tmp_path / "log").stat().st_size == 0
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}
