"""How fast a checkpoint becomes a Hugging Face model, against copying as many bytes, and against torch's own reader.

The checkpoint, of Megatron-LM's formats `torch` and `torch_dist`, has weights in bfloat16 and an optimizer's state
beside them, six times as large. Each conversion is a new process; what it needs to start is shown apart.

  python benchmarks/convert.py [--gib 8] [--keep FOLDER]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

BYTES_A_PARAMETER = 14
"""Two of a weight, and three numbers in fp32 of the optimizer's."""
LAYER = {
    "hidden_size": 1536,
    "ffn_hidden_size": 4096,
    "num_attention_heads": 12,
    "kv_channels": 128,
    "num_query_groups": 4,
}
LAYER_PARAMETERS = 1536 * ((12 + 2 * 4) * 128 + 1536 + 3 * 4096)
VOCAB = 51_200


def build(home: Path, gib: float) -> None:
    """Write both checkpoints."""
    import torch  # noqa: PLC0415 - the processes that are measured need none

    from tests.conversion.megatron import Model, save_dist, save_torch  # noqa: PLC0415 - it imports torch

    layers = round((gib * (1 << 30) / BYTES_A_PARAMETER - 2 * VOCAB * 1536) / LAYER_PARAMETERS)
    told = {**LAYER, "num_layers": max(layers, 1), "padded_vocab_size": VOCAB, "max_position_embeddings": 2048}
    model = Model(dtype=torch.bfloat16, told=told)
    state = {
        f"optimizer.state.{kind}.{name}": torch.zeros(weight.shape)
        for kind in ("fp32_param", "exp_avg", "exp_avg_sq")
        for name, weight in model.weights().items()
    }
    save_torch(model, home / "torch" / "iter_0000006", optimizer=state)
    save_dist(model, home / "torch_dist" / "iter_0000006", beside=state)


def baseline(source: Path, target: Path) -> None:
    """Load all weights with torch's own reader, and save them in one file: what a short script does."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415
    from torch.distributed.checkpoint import FileSystemReader, load  # noqa: PLC0415

    reader = FileSystemReader(source)
    items = {
        name: item for name, item in reader.read_metadata().state_dict_metadata.items() if not name.startswith("optim")
    }
    weights = {name: torch.empty(item.size, dtype=item.properties.dtype) for name, item in items.items()}
    load(weights, storage_reader=reader, no_dist=True)
    target.mkdir()
    save_file(weights, target / "model.safetensors")
    os.sync()


def forget() -> None:
    """Empty the kernel's cache of files, where we may."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def timed(what: Callable[[], object]) -> float:
    """Measure seconds."""
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def convert(source: Path, target: Path) -> dict[str, float]:
    """Convert in a new process: how long until the model is there, on disk, and what comes before and after that."""
    shutil.rmtree(target, ignore_errors=True)
    program = (
        "import sys, time; from pathlib import Path; from autoexp.conversion.job import Wishes, convert;"
        "begun = time.monotonic(); made = convert(Path(sys.argv[1]), Path(sys.argv[2]), Wishes());"
        "print(made['seconds'], time.monotonic() - begun, made['peak_rss_bytes'] >> 20)"
    )
    done: list[str] = []

    def run() -> None:
        command = [sys.executable, "-c", program, str(source), str(target)]
        done.extend(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    wall = timed(run)
    made_s, whole_s, peak_mb = map(float, done)
    return {"seconds": made_s, "start_s": wall - whole_s, "hash_s": whole_s - made_s, "peak_mb": peak_mb}


def copy(source: Path, target: Path) -> None:
    """Do as `cp && sync`."""
    subprocess.run(["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(source), str(target)], check=True)


def measure(home: Path, form: str, state: str) -> None:
    """Compare one conversion with a copy of the same weights, each of them cold or warm."""
    source, target = home / form / "iter_0000006", home / "hf"
    prepare = forget if state == "cold" else os.sync
    convert(source, target)
    weights = target / "model.safetensors"
    size = weights.stat().st_size
    (home / "weights").unlink(missing_ok=True)
    weights.rename(home / "weights")
    rounds = []
    for _ in range(3):
        (home / "copy").unlink(missing_ok=True)
        prepare()
        copied = timed(lambda: copy(home / "weights", home / "copy"))
        (home / "copy").unlink()
        prepare()
        rounds.append((copied, convert(source, target)))
    copied, made = sorted(rounds, key=lambda each: each[0] / each[1]["seconds"])[1]
    share = copied / made["seconds"]
    print(
        f"{form:<11}{state:<6}{size / 1e9:5.2f} GB   cp && sync {copied:6.2f} s   converted {made['seconds']:6.2f} s"
        f" ({made['start_s']:.2f} s to start, {made['hash_s']:.2f} s to hash)   {share:.0%} of cp's speed"
        f"   peak {made['peak_mb']:.0f} MB",
        flush=True,
    )


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=8, help="the size of each checkpoint")
    parser.add_argument("--keep", type=Path, help="where to build, and leave it; what is built there is used again")
    parser.add_argument("--baseline", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.baseline:
        baseline(*asked.baseline)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = asked.keep or Path(folder)
        home.mkdir(exist_ok=True)
        if not (home / "torch_dist").exists():
            build(home, asked.gib)
        for form in ("torch", "torch_dist"):
            for state in ("warm", "cold"):
                measure(home, form, state)
        shutil.rmtree(home / "hf")
        forget()
        command = [
            sys.executable,
            __file__,
            "--baseline",
            str(home / "torch_dist" / "iter_0000006"),
            str(home / "plain"),
        ]
        plain = timed(lambda: subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}))
        forget()
        ours = convert(home / "torch_dist" / "iter_0000006", home / "hf")
        whole = ours["seconds"] + ours["start_s"]
        print(
            json.dumps(
                {
                    "DCP load + save_file, cold, s": round(plain, 2),
                    "ours, s": round(whole, 2),
                    "ratio": round(plain / whole, 2),
                }
            )
        )
        for name in ("plain", "hf"):
            shutil.rmtree(home / name)


if __name__ == "__main__":
    main()
