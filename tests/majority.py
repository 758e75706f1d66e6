"""A model whose answers are known, and tasks for it: it says what it has read most often, so counting words is enough.

A Llama of one layer: its attention is the same for all tokens, so it adds up what it has read, and its logits are that.
"""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = ("<unk>", "<end>", "a", "b", "c", "d", "e", "f")
GOLDS: Mapping[str, Sequence[int]] = {"most": (1, 1, 1, 0), "half": (1, 1, 0, 0)}
"""Each task's right answers, by their numbers in `CHOICES`."""
QUESTION = "a"
CHOICES = ("a a", "b b")


def save_model(folder: Path) -> Path:
    """Write the model with its tokenizer."""
    size = len(WORDS)
    shape = {"hidden_size": size, "intermediate_size": size, "vocab_size": size, "max_position_embeddings": 64}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 1, "bos_token_id": None, "eos_token_id": 1}
    model = LlamaForCausalLM(LlamaConfig(**shape, **heads))
    identity = {"embed_tokens": 1.0, "v_proj": 1.0, "o_proj": 100.0, "lm_head": 1.0}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(identity.get(name.split(".")[-2], 0.0) * torch.eye(size))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": WORDS[0]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": WORDS[0], "eos_token": WORDS[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_tasks(folder: Path) -> Path:
    """Write the tasks: whatever is asked, `a` stands there once; each example shown adds an `a` and two `b`."""
    folder.mkdir()
    for name, golds in GOLDS.items():
        samples = [{"question": QUESTION, "choices": CHOICES, "gold": gold} for gold in golds]
        data = folder / f"{name}.jsonl"
        data.write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "fewshot_config": {"sampler": "first_n"},
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{gold}}",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 2},
        }
        (folder / f"{name}.yaml").write_text(json.dumps(task))
    return folder


def hits(task: str, few_shot: int, limit: int | None = None) -> list[int]:
    """Say for each sample whether the model gets it right: what stands most often is its answer."""
    golds = GOLDS[task][:limit]
    shown = [f"{QUESTION} {CHOICES[gold]}" for gold in GOLDS[task][:few_shot]]
    words = " ".join((*shown, QUESTION)).split()
    answer = max(range(len(CHOICES)), key=lambda number: words.count(CHOICES[number].split()[0]))
    return [int(answer == gold) for gold in golds]


@contextmanager
def offline(home: Path) -> Iterator[None]:
    """Let programs keep their caches at home, and see that none of them leaves this computer."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, pytest.MonkeyPatch.context() as environment:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        environment.setenv("HOME", str(home))
        environment.setenv("HF_HUB_OFFLINE", "1")
        yield
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
