import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autoexp.trainers import flags, gpt, ranks, text
from autoexp.trainers.loop import evaluate, step
from autoexp.trainers.state import Training

TINY = (
    "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 8 --global-batch-size 8 "
    "--micro-batch-size 8 --train-iters 100 --lr 1e-2 --lr-decay-style constant --eval-iters 3"
)
CUT = text.windows(bytes(range(256)) * 8, 8)

Make = Callable[..., Training]


@pytest.fixture
def make() -> Make:
    return lambda more="": gpt.build(flags.parse([*TINY.split(), *more.split()], 1), ranks.join())


def go() -> bool:
    return False


def weights(training: Training) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in training.model.parameters()])


def test_a_step_counts_an_iteration_and_its_samples(make: Make) -> None:
    training = make()
    before = weights(training)
    made = step(training, CUT, go)
    assert (training.iteration, training.consumed) == (1, 8)
    assert made.taken
    assert not made.stop
    assert not torch.equal(weights(training), before)


def test_the_loss_is_the_mean_cross_entropy_before_the_update(make: Make) -> None:
    training = make()
    batch = text.samples(CUT, training.args.seed, 0, 8)
    with torch.no_grad():
        logits = training.model(batch[:, :-1])
    expected = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    assert step(training, CUT, go).loss == pytest.approx(float(expected))


def test_micro_batches_add_up_to_the_same_step(make: Make) -> None:
    one, many = make(), make("--micro-batch-size 2")
    for _ in range(3):
        left, right = step(one, CUT, go), step(many, CUT, go)
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
        assert left.grad_norm == pytest.approx(right.grad_norm, rel=1e-4)
    torch.testing.assert_close(weights(one), weights(many), rtol=1e-3, atol=1e-5)


def test_ranks_take_neighbouring_shares_of_the_batch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    real = text.samples

    def spy(cut: Tensor, seed: int, first: int, count: int) -> Tensor:
        seen.append((first, count))
        return real(cut, seed, first, count)

    monkeypatch.setattr(text, "samples", spy)
    monkeypatch.setattr(ranks, "total", lambda _world, values: list(values))  # no process group here
    for rank in (0, 1):
        training = make("--micro-batch-size 2")
        training.world = replace(training.world, rank=rank, size=2)
        training.consumed = 80
        step(training, CUT, go)
    assert seen == [(80, 2), (82, 2), (84, 2), (86, 2)]


def test_a_large_gradient_is_cut_to_the_limit(make: Make) -> None:
    free, cut = make("--clip-grad 0"), make("--clip-grad 0.001")
    norms = [step(training, CUT, go).grad_norm for training in (free, cut)]
    assert norms[0] == norms[1] > 0.001  # told as it was before
    first = [float(torch.cat([m.flatten() for m in training.adam.first]).norm()) for training in (free, cut)]
    assert first[0] == pytest.approx(0.1 * norms[0], rel=1e-4)
    assert first[1] == pytest.approx(0.1 * 0.001, rel=1e-2)


def test_a_loss_that_is_not_finite_moves_nothing(make: Make) -> None:
    training = make()
    with torch.no_grad():
        training.model.embedding.word_embeddings.weight.mul_(math.inf)
    before = weights(training)
    made = step(training, CUT, go)
    assert not made.taken
    assert not math.isfinite(made.loss)
    assert torch.equal(weights(training).nan_to_num(), before.nan_to_num())
    assert (training.iteration, training.adam.steps) == (1, 0)
    assert all(weight.grad is None for weight in training.model.parameters())


def test_being_asked_to_stop_is_noticed_in_the_iteration_itself(make: Make) -> None:
    assert step(make(), CUT, lambda: True).stop


def test_an_evaluation_repeats_itself_and_changes_nothing(make: Make) -> None:
    training = make()
    before = weights(training)
    assert evaluate(training, CUT) == evaluate(training, CUT)
    assert torch.equal(weights(training), before)
    assert (training.iteration, training.consumed) == (0, 0)


def test_an_evaluation_is_the_mean_over_its_windows(make: Make) -> None:
    training = make("--micro-batch-size 4")
    batch = text.spread(CUT, 0, 24, 24)
    with torch.no_grad():
        logits = training.model(batch[:, :-1])
    expected = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    assert evaluate(training, CUT) == pytest.approx(float(expected), rel=1e-6)
