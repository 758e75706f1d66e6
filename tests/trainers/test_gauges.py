import torch

from autoexp.trainers import gauges, ranks
from autoexp.trainers.gauges import Gauges


def test_without_a_gpu_the_peak_is_the_processs_own_and_nobody_says_how_busy() -> None:
    allocated, reserved, busy = gauges.read(torch.device("cpu"))

    assert allocated == reserved > 50 << 20  # torch alone is larger
    assert busy == -1


def test_the_slots_of_all_ranks_sum_up_to_what_each_of_them_has() -> None:
    worlds = [ranks.World(rank=rank, size=3, device=torch.device("cpu")) for rank in range(3)]
    slots = [gauges.in_slots((10.0 * world.rank, 2.0**52 + world.rank, 5.0), world) for world in worlds]

    found = gauges.of_slots([sum(values) for values in zip(*slots, strict=True)])

    assert found == Gauges(allocated=(0, 10, 20), reserved=(2**52, 2**52 + 1, 2**52 + 2), busy=(5, 5, 5))


def test_one_rank_that_cannot_tell_leaves_the_others_untold() -> None:
    assert gauges.of_slots([1, 2, 30, 1, 2, -1]).busy == ()
