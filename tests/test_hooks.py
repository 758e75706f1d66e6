import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoexp import hooks
from autoexp.errors import AutoexpError, HookRefused
from autoexp.model import HookCall

Put = Callable[[str, str], HookCall]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Write a hook into a hooks/ of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hooks").mkdir()
    hooks.find.cache_clear()

    def write(name: str, text: str) -> HookCall:
        path = tmp_path / "hooks" / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return HookCall(name=name, path=str(path), values={"n": 3})

    yield write
    hooks.find.cache_clear()


@pytest.mark.parametrize(
    ("text", "output"),
    [
        pytest.param("OUTPUT = 'hf'", "hf", id="a constant"),
        pytest.param("from typing import Final\nOUTPUT: Final = 'hf'", "hf", id="with its type"),
        pytest.param("x = 1", "", id="none"),
        pytest.param("OUTPUT = 'h' + 'f'", "", id="no constant"),
        pytest.param("def f():\n    OUTPUT = 'x'", "", id="not at the top"),
        pytest.param("raise SystemExit(1)\nOUTPUT = 'hf'", "hf", id="it is not run"),
    ],
)
def test_a_hook_is_looked_into_without_running_it(put: Put, text: str, output: str) -> None:
    call = put("mine", text)

    found = hooks.find("mine")

    assert (found.name, found.path, found.output) == ("mine", call.path, output)


@pytest.mark.parametrize("name", ["cooldown_symlink", "megatron_to_hf", "evaluate", "convert_eval", "nccl_gate"])
def test_our_own_hooks_say_what_they_take(name: str) -> None:
    info = hooks.find(name)
    said = subprocess.run([sys.executable, info.path, "--help"], capture_output=True, text=True, check=True).stdout
    if name == "convert_eval":  # it passes on what it does not take itself
        also = hooks.find("evaluate").takes
        assert {*info.takes} >= {*also} - {"model", "dtype"}
        said += " ".join(f"--{word}" for word in info.takes if word in also)

    options = {word.replace("_", "-") for word in re.findall(r"--([a-z][a-z_-]*[a-z])\b", said)}

    assert {*info.takes} == options - {"help", "checkpoint", "output"}


def test_an_unknown_hook_lists_those_there_are(put: Put) -> None:
    put("mine", "")

    with pytest.raises(AutoexpError, match=r"unknown hook 'yours'\n  why: there are .*mine"):
        hooks.find("yours")


def test_a_hook_that_is_no_python_names_its_line(put: Put) -> None:
    put("mine", "x = 1\ny = (\n")

    with pytest.raises(AutoexpError) as caught:
        hooks.find("mine")

    assert caught.value.what == "the hook 'mine' is no Python"
    assert "mine.py:2: '(' was never closed" in caught.value.why


def test_a_hook_prepares_a_job_with_the_recipe_s_values(put: Put, tmp_path: Path) -> None:
    call = put("good", "def prepare(job_dir, *, n):\n    (job_dir / 'x').write_text(str(n))\n    return {'wrote': n}\n")

    assert hooks.prepare(call, tmp_path) == {"wrote": 3}
    assert (tmp_path / "x").read_text() == "3"


def test_a_hook_that_was_corrected_is_read_anew(put: Put, tmp_path: Path) -> None:
    call = put("mine", "def prepare(job_dir, n):\n    raise ValueError('broken')\n")
    with pytest.raises(AutoexpError, match="broken"):
        hooks.prepare(call, tmp_path)

    put("mine", "def prepare(job_dir, n):\n    return {'corrected': n}\n")

    assert hooks.prepare(call, tmp_path) == {"corrected": 3}


def test_a_hook_s_refusal_is_its_own_answer(put: Put, tmp_path: Path) -> None:
    text = "from autoexp.errors import HookRefused\n"
    call = put(
        "strict", f"{text}def prepare(job_dir, n):\n    raise HookRefused('no', why='w', fix='f', temporary=True)\n"
    )

    with pytest.raises(HookRefused) as caught:
        hooks.prepare(call, tmp_path)

    assert (caught.value.what, caught.value.temporary) == ("no", True)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        pytest.param("wrong_value", "def prepare(job_dir, m): pass", ": TypeError(", id="a value"),
        pytest.param("own_bug", "def prepare(job_dir, n):\n    return {}[n]", ":2: KeyError(3)", id="a bug"),
        pytest.param("import_bug", "import no_such_module_here", ":1: ModuleNotFoundError(", id="an import"),
        pytest.param("syntax_bug", "def prepare(:", ": SyntaxError(", id="no Python"),
        pytest.param("exit", "def prepare(job_dir, n):\n    raise SystemExit(1)", ":2: SystemExit(1)", id="an exit"),
        pytest.param(
            "disk", "def prepare(job_dir, n):\n    (job_dir / 'a/b').touch()", ":2: FileNotFound", id="the disk"
        ),
    ],
)
def test_whatever_a_hook_does_wrong_is_an_error_with_its_name_and_line(
    put: Put, tmp_path: Path, name: str, text: str, why: str
) -> None:
    call = put(name, text)

    with pytest.raises(AutoexpError) as caught:
        hooks.prepare(call, tmp_path)

    assert caught.value.what == f"the hook {name!r} broke"
    assert caught.value.why.startswith(f"{call.path}{why}")
    assert caught.value.fix == "correct the hook, then mark retry"


def test_a_hook_that_only_runs_as_a_job_says_so(put: Put, tmp_path: Path) -> None:
    call = put("job_only", "x = 1")

    with pytest.raises(AutoexpError) as caught:
        hooks.prepare(call, tmp_path)

    assert caught.value.what == "the hook 'job_only' cannot prepare a job"
    assert caught.value.fix.startswith("name a hook that has one under prepare:")


def test_a_hook_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="the hook 'gone' is gone"):
        hooks.prepare(HookCall(name="gone", path=str(tmp_path / "gone.py")), tmp_path)


def test_a_gate_says_what_it_wants_to_be_told(put: Put) -> None:
    put("mine", 'PLANNED = "ranks hosts"\n')

    assert hooks.find("mine").planned == ("ranks", "hosts")
    assert hooks.find("nccl_gate").planned == ("ranks", "hosts", "threshold")
