"""Measures the loss of a Hugging Face model on text held out from training, or has lm-evaluation-harness score tasks.

Try it by hand:

    python hooks/evaluate.py --model RUN/hf/0000200 --output RUN/eval/0000200
    python hooks/evaluate.py --model RUN/hf/0000200 --output RUN/eval/0000200 --tasks arc_easy,piqa --few-shot 5

In a recipe, one job a converted checkpoint:

    evaluate: {each: {job: convert}, hook: evaluate, with: {model: "${sibling.convert.output}"}}

It writes results.json: the loss in nats a token, its perplexity, and what was measured on what; or each task's scores.
Equal inputs give equal numbers: the windows are spread evenly over the text, and none is drawn at random.

Rule 1: a number that means nothing is never a result. A loss that is not finite, a weight that the model's
folder lacks (transformers would draw it at random), a vocabulary that does not fit the text: each is exit 1.
Rule 2: losses compare over the same text only, so its hash stands beside them.
Rule 3: the harness is not left alone with a model that tells it nothing: it scores one whose logits are no numbers like
one that always gives the first answer, and ends well.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoexp import files, harness
from autoexp.checkpoints import iteration_of
from autoexp.errors import AutoexpError, HookRefused

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

OUTPUT = "eval"
TAKES = "model text windows seq-length batch-size tasks task-folder few-shot limit dtype"
RESULTS = "results.json"

BYTES = 256
"""The vocabulary of a model without a tokenizer: each byte is a token."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
MOST_WORKERS = 4
"""Batches computed at once; each keeps its logits in memory, [batch, length, vocabulary]."""

LONGEST_DEFAULT = 512
"""Models are trained on longer windows; an evaluation after every checkpoint need not be that long."""

OF_A_TEXT = ("text", "windows", "seq_length")
NO_TASKS = (("task_folder", "few_shot", "limit", "dtype"), "no tasks are named", "name tasks, or leave it out")
PROBE = 8
"""Tokens computed to see whether a model gives numbers at all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when results.json is written."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        _check_used(args, parser)
        (args.output / RESULTS).unlink(missing_ok=True)  # of another model, perhaps: it must not outlive a failure
        results = score(args) if args.tasks else measure(args)
        if args.checkpoint:
            results = {"iteration": iteration_of(args.checkpoint.name), **results}
        args.output.mkdir(parents=True, exist_ok=True)
        files.write_json(args.output / RESULTS, results, indent=1)
    except (AutoexpError, OSError) as error:
        print(f"evaluate: {_explained(error, args.output)}", file=sys.stderr)
        return 1
    print(json.dumps(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder with config.json and weights")
    parser.add_argument("--output", type=Path, required=True, help="the folder for results.json")
    parser.add_argument("--checkpoint", type=Path, help="the iter_ folder it was made of, for the record")
    parser.add_argument("--text", type=Path, help="a file or folder, of which the held-out part is read")
    parser.add_argument("--windows", type=int, default=64, help="how many windows to measure at most")
    parser.add_argument(
        *_spelled("seq-length"), type=int, help=f"tokens a window (the model's, {LONGEST_DEFAULT} at most)"
    )
    parser.add_argument(*_spelled("batch-size"), type=int, default=8, help="windows, or samples, at once")
    parser.add_argument(
        "--tasks", nargs="+", help="have lm-evaluation-harness score these instead, with commas or spaces"
    )
    parser.add_argument(*_spelled("task-folder"), type=Path, help="where tasks of your own are")
    parser.add_argument(*_spelled("few-shot"), type=int, help="examples before each question (as the task says)")
    parser.add_argument("--limit", type=int, help="samples of each task, to try it out (all)")
    parser.add_argument("--dtype", choices=harness.DTYPES, default=harness.DTYPES[0], help="what tasks are scored in")
    return parser


def _spelled(name: str) -> tuple[str, str]:
    """Spell a flag in both ways: recipes tend to write few_shot."""
    return f"--{name}", f"--{name.replace('-', '_')}"


def _check_used(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what would be passed over in silence."""
    unused, why, fix = (OF_A_TEXT, "tasks bring their own texts", "leave it out") if args.tasks else NO_TASKS
    for name in unused:
        if getattr(args, name) != parser.get_default(name):
            raise HookRefused(f"{name} would have no effect", why=why, fix=fix)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measure the loss on a text."""
    return evaluate(
        args.model, text=args.text, windows=args.windows, seq_length=args.seq_length, batch_size=args.batch_size
    )


def score(args: argparse.Namespace) -> dict[str, object]:
    """Have tasks scored; scores of an earlier run are removed first, lest they stand for this one's.

    Raises:
        HookRefused: The model, the tasks or their scores are worth nothing.
    """
    started = time.monotonic()
    request = asked(args)
    harness.check(request)
    check_model(args.model)
    scored = harness.evaluate(request, args.output / harness.PROGRAM)
    return {**scored, "seconds": round(time.monotonic() - started, 3)}


def asked(args: argparse.Namespace) -> harness.Request:
    """Read what is asked of the harness; tasks come with commas by hand, as words from a recipe."""
    return harness.Request(
        model=args.model,
        tasks=tuple(task for word in args.tasks for task in word.split(",")),
        task_folder=args.task_folder,
        few_shot=args.few_shot,
        limit=args.limit,
        batch_size=args.batch_size,
        dtype=args.dtype,
    )


def _explained(error: Exception, output: Path) -> AutoexpError:
    if isinstance(error, AutoexpError):
        return error
    return HookRefused(f"{output} cannot be written", why=str(error), fix="make room, or give another --output")


def evaluate(
    model: Path,
    *,
    text: Path | None = None,
    windows: int = 64,
    seq_length: int | None = None,
    batch_size: int = 8,
) -> dict[str, object]:
    """Return the model's mean loss in nats a token, with what was measured.

    Args:
        model: A folder that transformers can load; without a tokenizer its tokens are bytes.
        text: Where the text is; nothing means the trainers' own.
        windows: How many windows of `seq_length` tokens to measure; fewer where the text is short.
        seq_length: Tokens a window; nothing means the model's own length, 512 at most.
        batch_size: How many windows to compute at once.

    Raises:
        HookRefused: The model cannot be loaded whole, does not fit the text, or gives no finite loss.
        AutoexpError: The text cannot be read.
    """
    started = time.monotonic()
    config = _read_config(model)
    length = _seq_length(config, seq_length)
    if windows < 1 or batch_size < 1:
        raise HookRefused("nothing to measure", why=f"{windows} windows, {batch_size} at once", fix="ask for one")
    torch, transformers = _libraries()
    data = _held_out(text)
    tokens = _tokens(model, config, data, transformers)
    starts = spread(len(tokens), length, windows)
    loaded = _load(model, transformers).float()
    loss = _computed(model, lambda: _mean_loss(loaded, torch.tensor(tokens), starts, length, batch_size))
    return {
        "loss": loss,
        "perplexity": _perplexity(loss, model),
        "tokens": len(starts) * length,
        "windows": len(starts),
        "seq_length": length,
        "model": str(model),
        "text": str(text) if text else "autoexp.trainers.text",
        "text_sha256": sha256(data).hexdigest(),
        "seconds": round(time.monotonic() - started, 3),
    }


def spread(tokens: int, length: int, windows: int) -> list[int]:
    """Return where `windows` windows of `length` + 1 tokens start, evenly over the text and without overlap.

    Raises:
        HookRefused: The text is shorter than one window.
    """
    count = min(windows, tokens // (length + 1))
    if count < 1:
        raise HookRefused(
            f"a text of {tokens} tokens has no window of {length}",
            why="each needs one token more, to predict",
            fix="give a longer --text or a shorter --seq-length",
        )
    last = tokens - length - 1
    return [index * last // max(count - 1, 1) for index in range(count)]


# What is measured.


def _read_config(model: Path) -> Mapping[str, Any]:
    """Read config.json first: it costs nothing, and a name that is no folder never goes to the network."""
    try:
        config = json.loads((model / "config.json").read_bytes())
        config.setdefault("max_position_embeddings", config.get("n_positions"))  # as GPT-2 calls it
        if config["max_position_embeddings"] >= 1 and config["vocab_size"] >= 1:
            return dict(config)
        why = "max_position_embeddings and vocab_size must be positive"
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
    raise HookRefused(f"{model} holds no model", why=why, fix="give the folder that a conversion wrote")


def _seq_length(config: Mapping[str, Any], asked: int | None) -> int:
    most: int = config["max_position_embeddings"]
    length = min(most, LONGEST_DEFAULT) if asked is None else asked
    if not 1 <= length <= most:
        raise HookRefused(
            f"--seq-length {length} does not fit the model",
            why=f"it has {most} positions",
            fix=f"give at most {most}",
        )
    return length


def _libraries() -> tuple[Any, Any]:
    """Import what takes seconds."""
    try:
        import torch  # noqa: PLC0415 - the module itself must be quick to import
        import transformers  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise HookRefused(
            f"{error.name} is not installed",
            why="models are loaded by transformers",
            fix='pip install "autoexp[convert]"',
        ) from error
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def _held_out(text: Path | None) -> bytes:
    from autoexp.trainers.text import held_out  # noqa: PLC0415 - it needs torch

    return held_out(text)


def _tokens(model: Path, config: Mapping[str, Any], data: bytes, transformers: Any) -> list[int]:
    """Return the text's tokens: the tokenizer's if the folder has one, else its bytes."""
    size = config["vocab_size"]
    if _has_tokenizer(model):
        tokens = _encoded(model, data.decode(errors="replace"), transformers)
        if max(tokens, default=0) >= size:
            raise HookRefused(
                f"the tokenizer of {model} is not the model's",
                why=f"it has a token {max(tokens)}, and the model {size} of them",
                fix=f"put the files of its own tokenizer into {model}",
            )
        return tokens
    if size != BYTES:
        raise HookRefused(
            f"{model} has no tokenizer",
            why=f"its vocabulary of {size} is not one of bytes, which has {BYTES}",
            fix=f"put the files of its tokenizer into {model}",
        )
    return list(data)


def _encoded(model: Path, text: str, transformers: Any) -> list[int]:
    """Let the folder's tokenizer read a text; code that lies beside it is not run."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except Exception as error:  # a folder can be wrong in ways of which transformers has no list
        raise HookRefused(
            f"the tokenizer of {model} cannot be used",
            why=f"{type(error).__name__}: {error}",
            fix="put its files there again, or convert with --tokenizer DIR into another folder",
        ) from error


def _has_tokenizer(model: Path) -> bool:
    return any((model / name).exists() for name in TOKENIZER_FILES)


def _load(model: Path, transformers: Any) -> Any:
    """Load the model; refuse one of which a weight is missing, left over, or of another shape.

    The last would be an exception that does not name the weight, were it not asked to be ignored.
    """
    try:
        loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
            model,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # a folder can be wrong in ways of which transformers has no list
        raise HookRefused(
            f"{model} cannot be loaded",
            why=f"{type(error).__name__}: {error}",
            fix="see that its files are whole, and convert the checkpoint again",
        ) from error
    wrong = {what: list(names) for what, names in info.items() if names}
    if wrong:
        raise HookRefused(
            f"{model} is not the model its configuration describes",
            why=", ".join(f"{what}: {names[0]}" for what, names in wrong.items()),
            fix="convert the checkpoint again",
        )
    return loaded.eval()


# What the harness would score, whatever it is worth.


def check_model(model: Path) -> None:
    """See that a model is whole, gives numbers, and has a tokenizer that knows its tokens.

    Raises:
        HookRefused: it is not so.
    """
    config = _read_config(model)
    torch, transformers = _libraries()
    _check_tokenizer(model, transformers)
    loaded = _load(model, transformers)
    probe = torch.arange(min(PROBE, config["vocab_size"]))[None]
    with torch.inference_mode():
        logits = _computed(model, lambda: loaded(probe, use_cache=False).logits)
    if not all(bool(each.isfinite().all()) for each in (logits, *loaded.parameters())):
        raise HookRefused(
            f"{model} gives no numbers",
            why="a weight, or what it computes, is not finite: it diverged, or was converted wrongly",
            fix="look at the training's loss up to this iteration",
        )


def _check_tokenizer(model: Path, transformers: Any) -> None:
    why = f"it has none of {', '.join(TOKENIZER_FILES)}"
    if _has_tokenizer(model):
        if _encoded(model, "a", transformers):
            return
        why = "it has one that knows no tokens"
    raise HookRefused(
        f"{model} has no tokenizer",
        why=why,
        fix="convert the checkpoint with a tokenizer: autoexp convert ... --tokenizer DIR, or with: {tokenizer: DIR}",
    )


def _computed(model: Path, compute: Callable[[], T]) -> T:
    """Compute something with a model, whose settings may not fit each other."""
    try:
        return compute()
    except Exception as error:  # likewise
        raise HookRefused(
            f"{model} cannot be computed",
            why=f"{type(error).__name__}: {error}",
            fix="convert the checkpoint again; where memory is short, give a smaller --batch-size",
        ) from error


# The measurement.


def _mean_loss(
    model: Any,
    tokens: "torch.Tensor",
    starts: Sequence[int],
    length: int,
    batch_size: int,
) -> float:
    """Return the mean cross entropy of each window's next tokens; `tokens` is int64 [length of the text].

    Batches are computed side by side, each by threads of its own. Threads that share one small batch wait for
    each other at every step: beside other jobs that was measured to take ten times as long.
    """
    import torch  # noqa: PLC0415 - imported already

    def summed(batch: torch.Tensor) -> float:
        with torch.inference_mode():
            logits = model(batch[:, :-1], use_cache=False).logits.flatten(0, 1)
            return torch.nn.functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="sum").item()

    windows = torch.stack([tokens[start : start + length + 1] for start in starts])
    cores = len(os.sched_getaffinity(0))
    workers = min(cores, MOST_WORKERS)
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,)) as pool:
        total = math.fsum(pool.map(summed, torch.split(windows, min(batch_size, len(windows)))))
    return total / (len(starts) * length)


def _perplexity(loss: float, model: Path) -> float:
    try:
        perplexity = math.exp(loss)
    except OverflowError:
        perplexity = math.inf
    if not math.isfinite(perplexity):
        raise HookRefused(
            f"the loss of {model} is {loss}",
            why="a model that diverged, or was converted wrongly, has no perplexity",
            fix="look at the training's loss up to this iteration",
        )
    return perplexity


if __name__ == "__main__":
    raise SystemExit(main())
