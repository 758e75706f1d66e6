import pytest
import torch

from autoexp.trainers import ranks


def test_a_process_alone_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = ranks.join()
    assert (world.rank, world.size, ranks.processes(), ranks.leads()) == (0, 1, 1, True)
    assert ranks.total(world, (1.0, 2.5)) == [1.0, 2.5]
    ranks.wait(world)
    ranks.leave(world)
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("threads", ["1", "1,4"])
def test_the_environment_says_how_many_threads_to_use(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    ranks.join()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_only_the_first_rank_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not ranks.leads()


def test_a_tensor_is_filled_with_values_of_its_own_shape_only() -> None:
    tensor = torch.zeros(2, 3, requires_grad=True)
    ranks.fill(tensor, torch.ones(2, 3))
    assert torch.equal(tensor, torch.ones(2, 3))
    with pytest.raises(RuntimeError, match=r"\[3, 2\] does not fit \[2, 3\]"):
        ranks.fill(tensor, torch.ones(3, 2))
