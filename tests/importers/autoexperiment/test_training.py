import pytest

from autoexp.importers.autoexperiment.training import is_training, stage

TEXT = r"""
export NCCL_IB_TIMEOUT=150
export MASTER_ADDR=$(hostname)
TP={TP}
CACHE="{ROOT}/cache/${{USER}}"
MODEL_ARGS=(
    --num-layers {LAYERS}  # as many as there are
    {BIAS}
    --bf16
)
FORMAT="torch"
if (( TP > 1 )); then
    FORMAT="torch_dist"
fi
if [ "{PHASE}" == "COOLDOWN" ]; then
    WARMUP=0
else
    WARMUP={WARMUP}
fi
cd {ROOT}/Megatron
CMD="pretrain_gpt.py \
    ${{MODEL_ARGS[@]}} --lr-warmup-iters $WARMUP --ckpt-format $FORMAT --save $CACHE/ckpt --data-path a b --lr=1e-3 \
    --data-cache-path $CACHE --tensorboard-dir x --bf16"
LAUNCHER="singularity exec --nv --cleanenv {IMAGE} python -m torch.distributed.run"
srun bash -c "$LAUNCHER $CMD"
"""


def flag_of(name: str) -> str | None:
    return "disable-bias-linear" if name == "BIAS" else None


def test_a_training_is_known_by_its_program() -> None:
    assert is_training(TEXT)
    assert not is_training("python train.py")


@pytest.mark.parametrize(("phase", "warmup"), [("COOLDOWN", 0), ("PRETRAIN", "${WARMUP}")])
@pytest.mark.parametrize(("tensor", "kept"), [(1, "torch"), (2, "torch_dist")])
def test_a_script_is_read_as_flags(phase: str, warmup: object, tensor: int, kept: str) -> None:
    made = stage(TEXT, {"PHASE": phase, "TP": tensor}, flag_of, pytest.fail)

    assert made == {
        "program": "${ROOT}/Megatron/pretrain_gpt.py",
        "args": {
            "num-layers": "${LAYERS}",
            "disable-bias-linear": "${calc:'${BIAS} != \"\"'}",
            "bf16": True,
            "lr-warmup-iters": warmup,
            "ckpt-format": kept,
            "data-path": ["a", "b"],
            "lr": 0.001,
            "data-cache-path": "${ROOT}/cache/${oc.env:USER,unknown}",
            "tensorboard-dir": "${dir}/tensorboard",
        },
        "container": {"image": "${IMAGE}", "runtime": "singularity", "options": ["--cleanenv"]},
        "env": {"NCCL_IB_TIMEOUT": "150"},
    }


def test_a_choice_that_only_the_run_can_make_is_told() -> None:
    told: list[str] = []

    stage("if [ $SLURM_NNODES == 2 ]; then\nX=1\nfi\npretrain_gpt.py --a $X", {}, flag_of, told.append)

    assert "[ $SLURM_NNODES == 2 ]" in told[0]
