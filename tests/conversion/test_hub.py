import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conversion import server
from tests.conversion.megatron import Model, save_torch
from tests.conversion.server import Hub

TOP = Path(__file__).parent.parent.parent
SECRET = "hf_aVerySecretToken"
BRANCH = "iter_0000006"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with server.running() as running:
        yield running


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_torch(Model(), tmp_path / BRANCH)


def convert(checkpoint: Path, hub: Hub, *words: str, token: str = SECRET) -> "subprocess.CompletedProcess[str]":
    """Run the hook as a job would; the model is there whatever comes of the upload."""
    output = checkpoint.parent / "hf"
    flags = ["--checkpoint", str(checkpoint), "--output", str(output), "--upload", "owner/name", *words]
    variables = {"PATH": os.environ["PATH"], "HOME": str(checkpoint.parent), "PYTHONPATH": str(TOP), "HF_TOKEN": token}
    done = subprocess.run(
        [sys.executable, TOP / "hooks" / "megatron_to_hf.py", *flags],
        env={**variables, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (output / "model.safetensors").exists()
    assert SECRET not in done.stdout + done.stderr + (output / "conversion.json").read_text()
    return done


def weights(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint.parent / "hf" / "model.safetensors").read_bytes()).hexdigest()


def test_an_iteration_is_a_branch_with_all_of_the_model_and_nothing_about_this_computer(
    checkpoint: Path, hub: Hub
) -> None:
    done = convert(checkpoint, hub)

    assert done.returncode == 0, done.stderr
    assert f"uploaded: {hub.url}/owner/name/tree/{BRANCH}" in done.stdout
    small = dict.fromkeys(("config.json", "generation_config.json"), "")
    assert hub.branches == {BRANCH: {**small, "model.safetensors": weights(checkpoint)}}
    assert {oid: hashlib.sha256(data).hexdigest() for oid, data in hub.stored.items()} == {
        weights(checkpoint): weights(checkpoint)
    }
    assert hub.tokens == {f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("part", "status"),
    [("/", 401), ("repos/create", 500), ("branch", 500), ("commit", 401), ("commit", 500)],
)
def test_a_hub_that_refuses_fails_the_job_and_the_next_run_uploads_what_is_missing(
    checkpoint: Path, hub: Hub, part: str, status: int
) -> None:
    hub.broken = {part: status}
    done = convert(checkpoint, hub)

    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert "megatron_to_hf: the model cannot be uploaded to owner/name" in lines
    assert str(status) in done.stderr
    assert "run it again" in lines[-1]

    hub.broken = {}
    assert convert(checkpoint, hub).returncode == 0
    assert hub.branches[BRANCH]["model.safetensors"] == weights(checkpoint)
    assert hub.calls.count(f"PUT /store/{weights(checkpoint)}") == 1


def test_a_hub_that_is_not_there_fails_the_job(checkpoint: Path) -> None:
    with server.running() as gone:
        pass
    done = convert(checkpoint, gone)

    assert done.returncode == 1
    assert "run it again" in done.stderr


def test_a_branch_with_another_model_is_left_as_it_is(checkpoint: Path, hub: Hub) -> None:
    hub.branches = {BRANCH: {"model.safetensors": "f" * 64}}

    done = convert(checkpoint, hub)

    assert done.returncode == 1
    assert "branch iter_0000006 has another model.safetensors" in done.stderr
    assert hub.branches == {BRANCH: {"model.safetensors": "f" * 64}}


@pytest.mark.parametrize("private", [True, False])
def test_what_is_to_be_private_goes_to_no_public_place(checkpoint: Path, hub: Hub, *, private: bool) -> None:
    hub.private = private

    done = convert(checkpoint, hub, "--private")

    assert done.returncode == int(not private)
    assert bool(hub.branches) == private
    assert ("it is public there" in done.stderr) == (not private)


def test_without_a_token_in_the_environment_nobody_is_asked(checkpoint: Path, hub: Hub) -> None:
    (checkpoint.parent / ".cache" / "huggingface").mkdir(parents=True)
    (checkpoint.parent / ".cache" / "huggingface" / "token").write_text(SECRET)

    done = convert(checkpoint, hub, token="")

    assert done.returncode == 1
    assert "HF_TOKEN is not set" in done.stderr
    assert hub.calls == []


def test_the_command_says_where_it_is(checkpoint: Path, hub: Hub) -> None:
    words = ["convert", str(checkpoint), str(checkpoint.parent / "hf"), "--upload", "owner/name", "--json"]
    variables = {**os.environ, "HF_TOKEN": SECRET, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}

    done = subprocess.run(
        [sys.executable, "-m", "autoexp", *words],
        env={**variables, "PYTHONPATH": str(TOP)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout)["uploaded"] == f"{hub.url}/owner/name/tree/{BRANCH}"
