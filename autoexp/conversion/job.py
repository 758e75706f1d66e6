"""One conversion, from a checkpoint's folder to a folder for transformers."""

import errno
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import autoexp
from autoexp import files, inert
from autoexp.checkpoints import iterations, judge
from autoexp.conversion import architectures, copies, distributed, drafts, legacy, options, tokenizer, writing
from autoexp.conversion.architectures import Choice
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.source import Source, refused
from autoexp.conversion.stream import Files
from autoexp.conversion.tokenizer import Tokenizer
from autoexp.conversion.traits import traits_of
from autoexp.conversion.vocabulary import trimmed, without_copy
from autoexp.conversion.writing import Shard, Told
from autoexp.errors import AutoexpError
from autoexp.examiner import examining
from autoexp.formats import parts

Telling = Callable[[int], AbstractContextManager[Told]]
MANIFEST = "conversion.json"
_STAYS = "see that it stays in place, and run it again"
_FIXES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "see to its permissions, or give another folder"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, and run it again: it goes on where it stopped"),
}
_OF_EITHER = (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV)
"""What a disk says that is gone or broken, be it read or written; without a name nobody knows which."""
READERS = {"torch": legacy.read, "torch_dist": distributed.read}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a conversion is to do otherwise than usual."""

    arch: str | None = None
    tokenizer: Path | None = None
    vocab_size: int | None = None
    dtype: str | None = None
    names: str | None = None
    ignore_args: tuple[str, ...] = ()
    shard_bytes: int = writing.SHARD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a conversion is going to do."""

    checkpoint: Path
    source: Source
    choice: Choice
    config: Mapping[str, Any]
    outputs: tuple[Output, ...]
    shards: tuple[Shard, ...]
    dtype: str | None
    tokenizer: Tokenizer | None
    padded_vocab: int
    wishes: Wishes
    inputs: Mapping[str, Any]
    """How the checkpoint's files stood before anything of them was read."""

    @property
    def parameters(self) -> int:
        """Count the numbers."""
        return sum(math.prod(output.shape) for output in self.outputs)

    @property
    def total_bytes(self) -> int:
        """Count the bytes of the weights."""
        return sum(writing.size_of(output, self.dtype) for output in self.outputs)

    @property
    def needs(self) -> str | None:
        """Name the code that the model needs beside it, because transformers does not have it; None if it has."""
        places = self.config.get("auto_map", {}).values()
        if not places:
            return None
        found = sorted({f"{place.partition('.')[0]}.py" for place in places})
        scheme = self.wishes.names or self.choice.architecture.NAMES[0]
        return f"{' and '.join(found)}, as published with tensors named {scheme}"

    def check_inputs(self) -> None:
        """Make sure that the checkpoint's files are the ones that were planned with.

        Raises:
            AutoexpError: they are not: where its tensors lie is not known any more.
        """
        if {name: _state(self.checkpoint / name) for name in self.inputs} != self.inputs:
            what = f"{self.checkpoint} changed while it was read"
            raise refused(what, "a save goes over it", "run it again when it is done")

    def fingerprint(self) -> str:
        """Tell this plan from another one: from other files, or to another end."""
        tensors = [(output.name, output.shape, output.transposed, output.plus_one) for output in self.outputs]
        text = json.dumps([self.inputs, self.config, tensors, [shard.name for shard in self.shards], self.dtype])
        return hashlib.sha256(text.encode()).hexdigest()


def plan(checkpoint: Path, wishes: Wishes) -> Plan:
    """Find out what a conversion would do; no weight is read.

    Raises:
        AutoexpError: the checkpoint is not whole, or of a kind that is not known.
    """
    with examining():
        judgement = judge(checkpoint)
    if judgement.format not in READERS or not judgement.convertible:
        newest = max(iterations(checkpoint).items(), default=None)
        fix = (
            f"give one of its iterations: {newest[1]}"
            if newest
            else "give an iter_ folder that Megatron-LM saved whole"
        )
        raise refused(f"{checkpoint} cannot be converted", f"format {judgement.format}: {judgement.why}", fix)
    try:
        before = {path: _state(path) for depth in ("*", "*/*") for path in checkpoint.glob(depth) if path.is_file()}
        source = READERS[judgement.format](checkpoint)
    except (inert.NotWholeError, OSError) as error:
        raise refused(f"{checkpoint} cannot be read", str(error), _STAYS) from error
    inputs = {str(path.relative_to(checkpoint)): before.get(path) for path in source.files}
    source = replace(options.ignoring(source, wishes.ignore_args), iteration=judgement.iteration or source.iteration)
    return _planned(checkpoint, source, inputs, wishes)


def _planned(checkpoint: Path, source: Source, inputs: Mapping[str, Any], wishes: Wishes) -> Plan:
    words = tokenizer.read(wishes.tokenizer) if wishes.tokenizer else None
    padded = source.weights["embedding.weight"].shape[0] if "embedding.weight" in source.weights else 0
    told = source.args.get("padded_vocab_size")
    if told not in (None, padded):  # vocab_size itself is often absent, or off by one
        raise refused(f"padded_vocab_size is {told!r}", f"the embedding has {padded} rows")
    least = (words.size if words else None) or 0
    if wishes.vocab_size is not None and wishes.vocab_size < least:
        raise refused(
            f"--vocab-size {wishes.vocab_size} leaves out words of the tokenizer",
            f"{wishes.tokenizer} has tokens up to number {least - 1}",
            f"leave --vocab-size out, or give at least {least}",
        )
    asked = wishes.vocab_size if wishes.vocab_size is not None else (words.size if words else None)
    if words and asked is None:
        why = f"none of the files in {words.folder} lists its tokens"
        fix = "say with --vocab-size how many rows of the embedding are tokens"
        raise AutoexpError("it is not known how many tokens there are", why=why, fix=fix)
    source = trimmed(without_copy(source), asked)
    traits = traits_of(source)
    choice = architectures.choose(traits, wishes.arch)
    schemes = choice.architecture.NAMES
    if wishes.names and wishes.names not in schemes:
        why = f"it has {', '.join(schemes)}" if schemes else "its tensors are named in one way only"
        raise AutoexpError(f"{choice.name} has no names {wishes.names!r}", why=why, fix="leave --names out")
    inventory = Inventory(source.weights)
    outputs = tuple(choice.architecture.outputs(traits, inventory, wishes.names or next(iter(schemes), "")))
    inventory.check_all_used()
    dtype = wishes.dtype or traits.dtype
    config = {**choice.architecture.config(traits), **_specials(words), "torch_dtype": dtype, "dtype": dtype}
    return Plan(
        checkpoint=checkpoint,
        source=source,
        choice=choice,
        config=config,
        outputs=outputs,
        shards=tuple(writing.shards(outputs, wishes.dtype, wishes.shard_bytes)),
        dtype=wishes.dtype,
        tokenizer=words,
        padded_vocab=padded,
        wishes=wishes,
        inputs=inputs,
    )


def _specials(words: Tokenizer | None) -> Mapping[str, int | None]:
    """Name the tokens with a task; a checkpoint knows none, and without these a Llama would get 1 and 2."""
    return words.specials if words else {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def _silent(_total_bytes: int) -> AbstractContextManager[Told]:
    return nullcontext(lambda _: None)


def convert(checkpoint: Path, output: Path, wishes: Wishes, telling: Telling = _silent) -> dict[str, Any]:
    """Make `output`, unless it is made already; return its manifest.

    `telling` gets the number of bytes to write, and gives who is told of them as they are written.

    Raises:
        AutoexpError: the checkpoint is not whole, of a kind that is not known, or changed meanwhile; something else is
            at `output`; or a file cannot be read or written.
    """
    made = finished(checkpoint, output, wishes)
    try:
        if made is None:
            _check_outside(checkpoint, output)
            planned = plan(checkpoint, wishes)
            with telling(planned.total_bytes) as told:
                _make_once(planned, output, told)
            made = finished(checkpoint, output, wishes)
        if made is None:
            raise _in_the_way(output, "it is gone again")
        return _hashed(output, made)
    except inert.NotWholeError as error:
        raise refused(f"{checkpoint} cannot be read", str(error), _STAYS) from error
    except OSError as error:
        sources = [place for place in (checkpoint, wishes.tokenizer) if place]
        raise _blamed(error, sources, output) from error


def _blamed(error: OSError, sources: Sequence[Path], output: Path) -> AutoexpError:
    """Name what cannot be read or made; what is no file of the sources is the output's."""
    why, named = error.strerror or str(error), error.filename2 or error.filename
    if error.errno in _OF_EITHER and (named is None or error.filename2):  # copied from one to the other
        fix = "see that the disks of both work, and run it again"
        return refused(f"{sources[0]} cannot be converted into {output}", f"reading or writing: {why}", fix)
    path, drafts_of = Path(os.fsdecode(named or output)), str(output.parent / f".{output.name}.~")
    if not path.is_relative_to(output) and not str(path).startswith(drafts_of):
        for source in sources:
            if path.is_relative_to(source):
                return refused(f"{source} cannot be read", f"{path}: {why}", _STAYS)
    above = output != path and output.is_relative_to(path)
    why = f"{path} cannot be made: {why}" if above else f"in {output.parent}: {why}"
    return refused(f"{output} cannot be written", why, _FIXES.get(error.errno or 0, "give another folder"))


def _make_once(planned: Plan, output: Path, told: Told) -> None:
    """Make it, or wait for another one that does."""
    with drafts.draft(output, lambda: finished(planned.checkpoint, output, planned.wishes) is not None) as draft:
        if draft is not None:
            _make(planned, draft, output, told)


def _make(planned: Plan, draft: Path, output: Path, told: Told) -> None:
    started = time.monotonic()
    planned.check_inputs()  # another one may have been waited for
    copies.check(planned.source)
    writing.clear(draft, planned.shards)
    sizes = writing.write_shards(draft, planned.shards, planned.dtype, planned.fingerprint(), told)
    for name, data in _texts(planned).items():
        text = f"{json.dumps(data, indent=2)}\n".encode()
        sizes[name] = writing.write(draft / name, [text], lambda _: None, Files())
    for name in planned.tokenizer.copy(draft) if planned.tokenizer else ():
        files.sync_file(draft / name)
        sizes[name] = (draft / name).stat().st_size
    planned.check_inputs()
    manifest = {
        **_about(planned, output),
        "inputs": planned.inputs,
        "outputs": {name: {"bytes": size, "sha256": None} for name, size in sizes.items()},
        "seconds": round(time.monotonic() - started, 3),
        "peak_rss_bytes": _peak_bytes(),
    }
    files.write_json(draft / MANIFEST, manifest, indent=1)
    writing.forget_notes(draft)
    drafts.appear(draft, output)


def _peak_bytes() -> int:
    """Return the most memory we had; what getrusage says may be our parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _hashed(output: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Add what is slow to know, once the model can be used: each file's SHA-256."""
    made = manifest["outputs"]
    if all(each["sha256"] for each in made.values()):
        return manifest
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda name: parts.sha256(output / name), made)
    outputs = {name: {**made[name], "sha256": found} for name, found in zip(made, hashes, strict=True)}
    files.write_json(output / MANIFEST, {**manifest, "outputs": outputs}, indent=1)
    return {**manifest, "outputs": outputs}


def _texts(planned: Plan) -> dict[str, Any]:
    """List the files besides the weights."""
    specials = {name: planned.config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    texts: dict[str, Any] = {"config.json": planned.config, "generation_config.json": specials}
    if len(planned.shards) > 1:
        texts[writing.INDEX] = writing.index_of(planned.shards, planned.dtype)
    return texts


def _about(planned: Plan, output: Path) -> dict[str, Any]:
    return {
        "source": str(files.real(planned.checkpoint)),
        "target": str(output.absolute()),
        "format": planned.source.format,
        "architecture": planned.config["architectures"][0],
        "wishes": _spelled(planned.wishes),
        "chosen": f"{planned.choice.name}: {planned.choice.why}",
        "needs": planned.needs,
        "iteration": planned.source.iteration,
        "parameters": planned.parameters,
        "vocabulary": {"rows": planned.padded_vocab, "kept": planned.config["vocab_size"]},
        "versions": {"autoexp": autoexp.__version__, "python": sys.version.split()[0]},
    }


def finished(checkpoint: Path, output: Path, wishes: Wishes) -> dict[str, Any] | None:
    """Return the manifest of a whole output of this very checkpoint; None when nothing is there.

    Raises:
        AutoexpError: something else is there.
    """
    if _is_free(output):
        return None
    try:
        manifest: dict[str, Any] = json.loads((output / MANIFEST).read_bytes())
        torn = [name for name, made in manifest["outputs"].items() if (output / name).stat().st_size != made["bytes"]]
        apart = _apart(manifest, checkpoint, wishes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _in_the_way(output, f"it is no finished conversion: {type(error).__name__} {error}") from error
    if torn or apart:
        raise _in_the_way(output, f"{torn[0]} is cut" if torn else f"it was made {apart}")
    return {**manifest, "target": str(output.absolute())}  # it may have been moved, or be a copy


_OPTIONS = {"tokenizer_sha256": "--tokenizer", "ignore_args": "--ignore-arg", "shard_bytes": "--shard-size"}
"""Those that are not called as what they set."""


def _apart(manifest: Mapping[str, Any], checkpoint: Path, wishes: Wishes) -> str | None:
    """Say of what else, or how else, an output was made; None if it is the one that is asked for.

    Raises:
        AutoexpError: the checkpoint is not whole any more.
    """
    if manifest["source"] != str(files.real(checkpoint)):
        return f"of another checkpoint: {manifest['source']}"
    was = manifest["wishes"]
    for name, now in _spelled(wishes).items():
        if name != "tokenizer" and was.get(name) != now:  # whose files count, and not their place
            option = _OPTIONS.get(name) or f"--{name.replace('_', '-')}"
            before, today = ("not given" if value is None else value for value in (was.get(name), now))
            return f"otherwise: {option} was {before} then, and is {today} now"
    if not checkpoint.exists():  # it was deleted since, and its path must do
        return None
    for name, state in manifest["inputs"].items():
        if not (checkpoint / name).exists():
            why = f"{name} is gone; {manifest['target']} was made of it while it was whole"
            raise refused(f"{checkpoint} is not whole any more", why, "use what was made, or bring the file back")
        if _state(checkpoint / name) != state:
            return f"of another save: {name} is another file by now"
    return None


def _check_outside(checkpoint: Path, output: Path) -> None:
    """Refuse a target in the checkpoint: its draft alone would make the checkpoint one of another layout, or damaged.

    Raises:
        AutoexpError: it is there.
    """
    if files.real(output).is_relative_to(files.real(checkpoint)):
        why = "a checkpoint that gets another folder is not the one that was saved, and may not be loaded any more"
        raise AutoexpError(f"{output} lies in the checkpoint {checkpoint}", why=why, fix="give a folder outside of it")


def _is_free(output: Path) -> bool:
    """Say whether there is nothing, but perhaps an empty folder.

    Raises:
        AutoexpError: no folder can ever get that name, for it appears by a rename.
    """
    try:
        if any(output.iterdir()):
            return False
    except FileNotFoundError:
        if output.is_symlink():
            raise _in_the_way(output, "it is a link that leads nowhere") from None
    except NotADirectoryError:
        place = next(place for place in (output, *output.parents) if os.path.lexists(place))
        raise _in_the_way(place, "it is no folder", "give another folder, or move it elsewhere first") from None
    except (OSError, ValueError) as error:
        why = f"it cannot be looked into: {getattr(error, 'strerror', None) or error}"
        raise _in_the_way(output, why, "give a folder that you can make") from error
    if output.is_symlink():
        why = "it is a link to an empty folder, and the output appears by a rename, which would go over the link"
        raise _in_the_way(output, why, f"give the folder itself: {files.real(output)}")
    if output.name in ("", "..") or Path.cwd() == files.real(output):
        why = "the folder appears whole, under a name of its own, and this one cannot be replaced"
        raise _in_the_way(output, why, "name a folder that is not there yet, such as ./hf")
    return True


def made_by(manifest: Mapping[str, Any]) -> Wishes:
    """Return the wishes that a finished conversion was made by, as far as its tensors go.

    Raises:
        LookupError, TypeError, ValueError: it is no manifest.
    """
    wishes, kept = manifest["wishes"], manifest["vocabulary"]["kept"]
    if wishes["dtype"] not in (None, *writing.DTYPES) or not isinstance(kept, int):
        raise ValueError(f"dtype {wishes['dtype']!r}, {kept!r} tokens")
    return Wishes(
        arch=wishes["arch"],
        names=wishes["names"],
        dtype=wishes["dtype"],
        ignore_args=tuple(wishes.get("ignore_args") or ()),
        vocab_size=kept,
        shard_bytes=int(wishes["shard_bytes"]),
    )


def _spelled(wishes: Wishes) -> dict[str, Any]:
    said: dict[str, Any] = {name: value if value is None else str(value) for name, value in asdict(wishes).items()}
    said["ignore_args"] = sorted(wishes.ignore_args) or None
    return {**said, "tokenizer_sha256": tokenizer.digest(wishes.tokenizer) if wishes.tokenizer else None}


def _state(path: Path) -> dict[str, int]:
    """Tell one state of a file from another."""
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _in_the_way(
    output: Path, why: str, fix: str = "give another folder, or move this one elsewhere first"
) -> AutoexpError:
    return AutoexpError(f"{output} is in the way", why=why, fix=fix)
