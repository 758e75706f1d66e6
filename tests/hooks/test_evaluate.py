import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from autoexp.conversion.job import Wishes, convert
from autoexp.errors import AutoexpError, HookRefused
from tests import majority
from tests.conversion.megatron import Model, save_torch

TEXT = bytes(range(256)) * 8


class Source(Protocol):
    """A tiny model and its checkpoints, of conftest.py."""

    def save(self, root: Path) -> Path: ...
    def logits(self, ids: torch.Tensor) -> torch.Tensor: ...


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("evaluate")


@pytest.fixture(autouse=True)
def held_out(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Give a small text in place of the trainers' own; return what was asked for."""
    asked: list[Path | None] = []

    def held_out(path: Path | None = None) -> bytes:
        asked.append(path)
        return path.read_bytes() if path else TEXT

    module = ModuleType("autoexp.trainers.text")
    module.held_out = held_out  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def source(megatron: Callable[..., Source]) -> Source:
    return megatron()


@pytest.fixture
def model(source: Source, tmp_path: Path) -> Path:
    """A converted model; training would have given it other weights, and nothing else."""
    convert(source.save(tmp_path / "checkpoints"), tmp_path / "hf", Wishes())
    return tmp_path / "hf"


@pytest.fixture(autouse=True)
def quiet(recwarn: pytest.WarningsRecorder) -> None:
    """Let transformers warn of its own affairs at its import."""
    assert recwarn is not None


def test_the_loss_is_the_mean_over_all_windows_of_the_formulas_cross_entropy(
    hook: ModuleType, source: Source, model: Path
) -> None:
    results = hook.evaluate(model, windows=5, seq_length=30, batch_size=2)

    windows = torch.stack([torch.tensor(list(TEXT[at : at + 31])) for at in hook.spread(len(TEXT), 30, 5)])
    logits = source.logits(windows[:, :-1])
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
    assert results["loss"] == pytest.approx(want, abs=1e-5)
    assert results["perplexity"] == pytest.approx(math.exp(want), rel=1e-5)
    assert (results["tokens"], results["windows"]) == (150, 5)


def test_equal_inputs_give_equal_numbers_whatever_the_batch(hook: ModuleType, model: Path) -> None:
    first, again = (hook.evaluate(model, windows=7, seq_length=20, batch_size=3)["loss"] for _ in range(2))

    assert first == again
    assert first == pytest.approx(hook.evaluate(model, windows=7, seq_length=20, batch_size=7)["loss"], abs=1e-5)


def test_as_a_job_it_writes_what_was_measured_on_what(
    hook: ModuleType, model: Path, tmp_path: Path, held_out: list[Path | None]
) -> None:
    (tmp_path / "text").write_bytes(TEXT[::-1])
    flags = ["--model", str(model), "--output", str(tmp_path / "eval"), "--text", str(tmp_path / "text")]

    assert hook.main([*flags, "--checkpoint", "checkpoints/iter_0000006"]) == 0

    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert held_out == [tmp_path / "text"]
    assert (results["iteration"], results["model"], results["text"]) == (
        6,
        str(model),
        str(tmp_path / "text"),
    )
    assert results["seq_length"] == 64
    assert results["seconds"] > 0
    assert len(results["text_sha256"]) == 64


def test_a_tokenizer_in_the_folder_is_used(hook: ModuleType, model: Path) -> None:
    letters = {chr(code): code % 256 for code in range(97, 123)} | {"<unk>": 0}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": letters, "unk_token": "<unk>"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": ""},
            "behavior": "Isolated",
            "invert": False,
        },
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    import transformers  # noqa: PLC0415 - seconds

    assert hook._tokens(model, {"vocab_size": 5000}, b"abz!", transformers) == [97, 98, 122, 0]


def words(**numbers: int) -> str:
    """Spell a tokenizer of these tokens."""
    kind = {"type": "WordLevel", "vocab": {"<unk>": 0, **numbers}, "unk_token": "<unk>"}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": kind})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (words(**{TEXT.decode(errors="replace"): 256}), "is not the model's"),
        ("", "cannot be used"),
        ("[]", "cannot be used"),
        ("null", "cannot be used"),
        ("{}", "cannot be used"),
        ("[" * 100_000, "cannot be used"),
        (words(a=-1), "cannot be used"),
    ],
)
def test_a_broken_tokenizer_is_told(
    hook: ModuleType, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, text: str, what: str
) -> None:
    (model / "tokenizer.json").write_text(text)
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')

    assert hook.main(["--model", str(model), "--output", str(tmp_path / "eval")]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert what in next(line for line in lines if line.startswith("evaluate: "))


def test_code_beside_a_tokenizer_is_not_run(hook: ModuleType, model: Path, tmp_path: Path) -> None:
    (model / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["mine.Mine", null]}}')
    (model / "mine.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")

    with pytest.raises(HookRefused, match="cannot be used") as told:
        hook.evaluate(model)

    assert "trust_remote_code" in told.value.why
    assert not (tmp_path / "ran").exists()


@given(tokens=st.integers(0, 3000), length=st.integers(1, 50), windows=st.integers(1, 100))
def test_windows_lie_in_the_text_in_order_without_overlap(tokens: int, length: int, windows: int) -> None:
    spread = module().spread
    if tokens <= length:
        with pytest.raises(HookRefused):
            spread(tokens, length, windows)
        return

    starts = spread(tokens, length, windows)

    assert 1 <= len(starts) <= windows
    assert starts[0] == 0
    assert starts[-1] + length + 1 <= tokens
    assert all(b - a >= length + 1 for a, b in pairwise(starts))


def module() -> Any:
    import importlib.util  # noqa: PLC0415

    path = Path(__file__).parent.parent.parent / "hooks" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("hook_evaluate_plain", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


# Failures that must not look like results.


def change(model: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(model / "model.safetensors")
    edit(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        pytest.param(lambda w: w["model.norm.weight"].fill_(math.nan), "nan", id="a loss that is no number"),
        pytest.param(lambda w: w["lm_head.weight"].mul_(1e6), "perplexity", id="a loss beyond all bounds"),
        pytest.param(lambda w: w.pop("model.norm.weight"), "missing_keys: model.norm.weight", id="a weight missing"),
        pytest.param(lambda w: w.update(x=torch.zeros(1)), "unexpected_keys: x", id="a weight left over"),
        pytest.param(
            lambda w: w.update({"model.norm.weight": torch.zeros(3)}), "model.norm.weight", id="another shape"
        ),
    ],
)
def test_a_model_that_cannot_be_measured_gives_no_result(
    hook: ModuleType,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    edit: Callable[[dict[str, torch.Tensor]], object],
    why: str,
) -> None:
    change(model, edit)
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "results.json").write_text('{"loss": 2.0, "model": "another"}')

    assert hook.main(["--model", str(model), "--output", str(tmp_path / "eval"), "--windows", "2"]) == 1

    assert not (tmp_path / "eval" / "results.json").exists()
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert why in error


def test_torn_weights_are_no_model(hook: ModuleType, model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    with pytest.raises(HookRefused, match="cannot be loaded"):
        hook.evaluate(model)


@pytest.mark.parametrize("config", ["", "[]", "{}", "[" * 100_000, '{"max_position_embeddings": 0, "vocab_size": 1}'])
def test_a_folder_without_a_sensible_configuration_is_no_model(hook: ModuleType, model: Path, config: str) -> None:
    (model / "config.json").write_text(config)

    with pytest.raises(HookRefused, match="holds no model"):
        hook.evaluate(model)


def test_a_model_that_cannot_be_computed_is_told(
    hook: ModuleType, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> float:
        raise IndexError("index out of range in self")

    monkeypatch.setattr(hook, "_mean_loss", broken)

    with pytest.raises(HookRefused, match="cannot be computed") as told:
        hook.evaluate(model)

    assert told.value.why == "IndexError: index out of range in self"


def test_more_at_once_than_there_are_is_all_at_once(hook: ModuleType, model: Path) -> None:
    assert hook.evaluate(model, windows=2, seq_length=16, batch_size=10**30)["windows"] == 2


def test_a_gpt2_calls_its_positions_otherwise(hook: ModuleType, tmp_path: Path) -> None:
    gpt2 = Model(kind="gpt2", told={"padded_vocab_size": 256})
    convert(save_torch(gpt2, tmp_path / "iter_0000006"), tmp_path / "gpt2", Wishes())

    assert hook.evaluate(tmp_path / "gpt2", windows=2, seq_length=16)["tokens"] == 32


def test_a_name_that_is_no_folder_is_never_looked_up_elsewhere(hook: ModuleType) -> None:
    with pytest.raises(HookRefused, match="holds no model"):
        hook.evaluate(Path("gpt2"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"seq_length": 65}, "does not fit"),
        ({"seq_length": 0}, "does not fit"),
        ({"windows": 0}, "nothing to measure"),
        ({"batch_size": 0}, "nothing to measure"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(
    hook: ModuleType, model: Path, options: dict[str, Any], what: str
) -> None:
    with pytest.raises(HookRefused, match=what):
        hook.evaluate(model, **options)


def test_a_text_shorter_than_a_window_is_refused(hook: ModuleType, model: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 64)

    with pytest.raises(AutoexpError, match="no window of 64"):
        hook.evaluate(model, text=tmp_path / "short")


def test_a_vocabulary_that_is_not_of_bytes_needs_a_tokenizer(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    convert(megatron(vocab=384).save(tmp_path / "other"), tmp_path / "words", Wishes())

    with pytest.raises(HookRefused, match="no tokenizer"):
        hook.evaluate(tmp_path / "words")


# Tasks, scored by the harness.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with tasks."""
    folder = tmp_path_factory.mktemp("home")
    majority.save_tasks(folder / "tasks")
    with majority.offline(folder):
        yield folder


@pytest.fixture
def scored(home: Path, tmp_path: Path) -> list[str]:
    """The flags of a job that has tasks scored; an earlier one has left a result."""
    model = majority.save_model(tmp_path / "model")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "results.json").write_text('{"loss": 2.0}')
    flags = {"--model": model, "--output": tmp_path / "eval", "--task-folder": home / "tasks"}
    return [str(word) for flag in flags.items() for word in flag]


def test_a_part_of_each_task_is_scored_and_says_that_it_compares_with_no_other(
    hook: ModuleType, scored: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--tasks", "most,half", "--limit", "3", "--dtype", "bfloat16", "--checkpoint", "checkpoints/iter_0000006"]

    assert hook.main([*scored, *flags]) == 0

    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    expected = {task: sum(majority.hits(task, few_shot=0, limit=3)) / 3 for task in ("most", "half")}
    assert {score["task"]: score["value"] for score in results["scores"]} == pytest.approx(expected)
    assert [(score["samples"], score["samples_in_all"], score["few_shot"]) for score in results["scores"]] == [
        (3, 4, 0),
        (3, 4, 0),
    ]
    assert (results["limit"], "compare with no others" in results["note"]) == (3, True)
    assert (results["iteration"], results["model"]) == (6, str(tmp_path / "model"))
    (raw,) = (tmp_path / "eval" / "lm_eval").iterdir()
    assert json.loads(raw.read_text())["config"]["model_dtype"] == "torch.bfloat16"
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1]) == results
    assert "Saving results" in printed.err


def failed(hook: ModuleType, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run it, see that it fails and leaves no result, and return its last three lines."""
    assert hook.main(flags) == 1
    assert not (tmp_path / "eval" / "results.json").exists()
    return capsys.readouterr().err.splitlines()[-3:]


def test_a_task_that_nobody_knows_is_a_failure_that_names_it(
    hook: ModuleType, scored: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what, why, fix = failed(hook, [*scored, "--tasks", "most", "nosuch"], tmp_path, capsys)

    assert what == "evaluate: lm_eval ended with 1"
    assert why == "  why: ValueError: Tasks not found: nosuch"
    assert fix.startswith("  fix: ")


def spoil(name: str, value: float) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        change(model, lambda weights: weights[name].fill_(value))

    return edit


def without_vocabulary(model: Path) -> None:
    """Leave a tokenizer that transformers makes from nothing: every text has no tokens."""
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')


def without_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        pytest.param(spoil("model.norm.weight", math.nan), "gives no numbers", id="a weight that is no number"),
        pytest.param(spoil("model.norm.weight", 3e38), "gives no numbers", id="finite weights that overflow"),
        pytest.param(
            lambda model: change(model, lambda w: w.pop("model.norm.weight")), "is not the model", id="a weight missing"
        ),
        pytest.param(without_tokenizer, "has no tokenizer", id="no tokenizer"),
        pytest.param(without_vocabulary, "has no tokenizer", id="an empty tokenizer"),
        pytest.param(lambda model: (model / "tokenizer.json").write_text("{"), "cannot be used", id="a torn tokenizer"),
        pytest.param(lambda model: (model / "config.json").unlink(), "holds no model", id="no model"),
    ],
)
def test_a_model_that_tells_nothing_is_not_scored(
    hook: ModuleType,
    scored: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    edit: Callable[[Path], object],
    what: str,
) -> None:
    edit(tmp_path / "model")

    lines = failed(hook, [*scored, "--tasks", "most"], tmp_path, capsys)

    assert what in lines[0]
    assert not (tmp_path / "eval" / "lm_eval").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--limit", "3"],
        ["--few_shot", "0"],
        ["--task_folder", "tasks"],
        ["--dtype", "bfloat16"],
        ["--tasks", "most", "--windows", "3"],
        ["--tasks", "most", "--seq_length", "3"],
        ["--tasks", "most", "--text", "text"],
    ],
)
def test_what_would_have_no_effect_is_refused(
    hook: ModuleType, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hook.main(["--model", str(tmp_path), "--output", str(tmp_path / "eval"), *flags]) == 1

    assert "would have no effect" in capsys.readouterr().err


def test_what_a_recipe_says_reaches_it(hook: ModuleType, planner: Callable[..., Any]) -> None:
    stage = "evaluate: {hook: evaluate, with: {model: m, tasks: [most, 'half,all'], few_shot: 2, task_folder: t}}"
    (job,) = planner(f"study: s\nstages:\n  {stage}\n").plan().jobs

    args = hook._parser().parse_args(list(job.argv[2:]))

    assert (hook.asked(args).tasks, args.few_shot, args.task_folder) == (("most", "half", "all"), 2, Path("t"))


def test_importing_it_or_a_hook_that_the_watcher_loads_imports_nothing_heavy(environment: dict[str, str]) -> None:
    hooks = Path(__file__).parent.parent.parent / "hooks"
    heavy = "{'torch', 'numpy', 'transformers', 'safetensors'}"
    loaded = [path.stem for path in hooks.glob("*.py") if "\ndef prepare(" in path.read_text(encoding="utf-8")]
    assert sorted(loaded) == ["cooldown_symlink", "notify", "write_config"]
    for name in (*loaded, "evaluate"):
        program = f"import sys, {name}; assert not {heavy} & set(sys.modules)"
        paths = {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}:{hooks}"}
        subprocess.run([sys.executable, "-c", program], env=paths, check=True)
