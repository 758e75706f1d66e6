import pytest
import torch
from torch import nn

from autoexp.trainers.adam import AdamW
from autoexp.trainers.ranks import whole


class Two(nn.Module):
    """A matrix and a norm weight."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.linspace(1, 2, 5))
        self.matrix = nn.Parameter(torch.linspace(-1, 1, 15).view(3, 5))


def adam(model: Two) -> AdamW:
    return AdamW(model, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1)


def gradients(model: Two, seed: int) -> None:
    torch.manual_seed(seed)
    for weight in (model.norm, model.matrix):
        weight.grad = torch.randn_like(weight)


def test_the_steps_are_those_of_torch() -> None:
    ours, theirs = Two(), Two()
    mine = adam(ours)
    groups = [
        {"params": [theirs.matrix], "weight_decay": 0.1},
        {"params": [theirs.norm], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    for number in range(20):
        lr = 0.1 / (number + 1)
        for group in reference.param_groups:
            group["lr"] = lr
        gradients(ours, number)
        gradients(theirs, number)
        mine.step(lr, 1.0)
        reference.step()
    torch.testing.assert_close(ours.matrix, theirs.matrix, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ours.norm, theirs.norm, rtol=1e-6, atol=1e-7)


def test_its_state_says_what_the_state_of_torch_says() -> None:
    ours, theirs = Two(), Two()
    mine = adam(ours)
    reference = torch.optim.AdamW([theirs.matrix, theirs.norm], betas=(0.9, 0.95), eps=1e-8)
    gradients(ours, 1)
    gradients(theirs, 1)
    mine.step(0.1, 1.0)
    reference.step()
    state, expected = mine.state(0.1), reference.state_dict()
    for index in (0, 1):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(state["state"][index][name], expected["state"][index][name])
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert [group["weight_decay"] for group in state["param_groups"]] == [0.1, 0.0]


def test_a_norm_weight_does_not_decay() -> None:
    model = Two()
    mine = adam(model)
    for weight in (model.norm, model.matrix):
        weight.grad = torch.zeros_like(weight)
    before = model.norm.detach().clone(), model.matrix.detach().clone()
    mine.step(0.5, 1.0)
    assert torch.equal(model.norm, before[0])
    torch.testing.assert_close(model.matrix.detach(), before[1] * 0.95)


def test_restoring_the_state_continues_as_if_nothing_had_happened() -> None:
    one, two = Two(), Two()
    first, second = adam(one), adam(two)
    for number in range(3):
        gradients(one, number)
        first.step(0.1, 1.0)
    second.restore(first.state(0.1))
    two.load_state_dict(one.state_dict())
    for model, mine in ((one, first), (two, second)):
        gradients(model, 9)
        mine.step(0.1, 1.0)
    assert torch.equal(one.matrix, two.matrix)
    assert torch.equal(one.norm, two.norm)


def test_the_gradients_are_scaled_and_then_used_up() -> None:
    one, two = Two(), Two()
    gradients(one, 1)
    gradients(two, 1)
    mine, other = adam(one), adam(two)
    mine.step(0.1, 0.5)
    for weight in (two.norm, two.matrix):
        assert weight.grad is not None
        weight.grad.mul_(0.5)
    other.step(0.1, 1.0)
    assert torch.equal(one.matrix, two.matrix)
    assert one.matrix.grad is None


def test_the_norm_covers_all_gradients() -> None:
    model = Two()
    mine = adam(model)
    model.norm.grad = torch.full((5,), 2.0)
    model.matrix.grad = torch.full((3, 5), 1.0)
    assert mine.squared_norm() == pytest.approx(5 * 4 + 15)


def test_another_models_state_is_refused() -> None:
    mine = adam(Two())
    state = mine.state(0.1)
    state["state"][0]["exp_avg"] = torch.zeros(5, 3)
    with pytest.raises(RuntimeError, match="does not fit"):
        mine.restore(state)
    with pytest.raises(KeyError):
        mine.restore({"state": {}})


def test_a_tensor_is_gathered_off_the_graph() -> None:
    assert not whole(Two().matrix).requires_grad
