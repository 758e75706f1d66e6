import re
from typing import Any

from autoexp.report import canvas, scalingplots
from autoexp.report.canvas import Plot
from autoexp.report.colors import LIGHT
from autoexp.report.lines import Line, Spread
from tests.report.test_ladders import run
from tests.report.test_lines import results
from tests.report.test_plots import texts


def line(number: int) -> Line:
    return Line(label=f"line {number}", family=number, rates=((1, 8.0), (2, 12.0)), efficiencies=((1, 1.0), (2, 0.75)))


def drawn(drawings: dict[str, Any]) -> dict[str, Plot]:
    with canvas.settings():
        return {name: canvas.plot(name, drawing) for name, drawing in drawings.items()}


def test_a_ladder_has_its_four_plots() -> None:
    found = drawn(scalingplots.drawings(results(run("one", 1, 8.0), run("two", 2, 5.0, tflops=8.0))))

    assert list(found) == ["scaling", "efficiency", "memory", "steps"]
    assert {"devices", "tokens per second", "train", "ideal"} <= set(texts(found["scaling"].svg))
    assert {"efficiency", "perfect", "100 %"} <= set(texts(found["efficiency"].svg))
    assert {"peak memory of each rank (GiB)", "3.00"} <= set(texts(found["memory"].svg))
    assert {"seconds a step", "train 1"} <= set(texts(found["steps"].svg))


def test_in_the_page_they_have_its_colors_and_share_no_ids() -> None:
    found = drawn(scalingplots.drawings(results(run("one", 1, 8.0), run("two", 2, 5.0, tflops=8.0))))
    parts = [svg for plot in found.values() for svg in (plot.inline, plot.narrow)]
    ids = [one for svg in parts for one in re.findall(r'\bid="([^"]+)"', svg)]

    assert not any(color in svg for svg in parts for color in LIGHT.values())
    assert len(ids) == len(set(ids))


def test_what_nobody_measured_is_no_plot() -> None:
    layouts = [run(name, 2, 8.0, layout={"strategy": name}) for name in "ab"]

    assert list(scalingplots.drawings(results(*layouts))) == ["memory", "steps"]
    assert list(scalingplots.drawings(results(run("one", 1, None), run("two", 2, None)))) == ["memory"]
    assert scalingplots.drawings(results(run("one", 1, 8.0))) == {}


def test_so_many_ladders_are_drawn_and_the_caption_counts_the_others() -> None:
    ladders = [run(f"{lr}-{n}", n, 8.0 / n, size=f"m{lr}") for lr in range(18) for n in (1, 2)]
    found = scalingplots.drawings(results(*ladders))
    (plot,) = drawn({"scaling": found["scaling"]}).values()

    assert {"m15", "ideal"} <= set(texts(plot.svg))
    assert "m16" not in texts(plot.svg)
    for name in ("scaling", "efficiency"):
        assert found[name].caption().endswith("The first 16 of 18 ladders are shown.")


def test_slower_runs_are_points_and_the_caption_says_so() -> None:
    with_others = Line(label="a", family=0, rates=((1, 8.0), (2, 12.0)), efficiencies=(), others=((2, 9.0),))

    assert "points are the others" in scalingplots.Throughput([with_others], "x").caption()
    assert "points are the others" not in scalingplots.Throughput([line(0)], "x").caption()


def test_numbers_of_devices_that_stand_too_close_are_not_all_named() -> None:
    wide = Line(label="a", family=0, rates=((1, 1.0), (2, 2.0), (512, 256.0)), efficiencies=((1, 1.0), (512, 0.5)))
    plain, doubled = scalingplots.Throughput([wide], "x").figure(narrow=False).axes

    assert [label.get_text() for label in plain.get_xticklabels()] == ["512", "2"]
    assert [label.get_text() for label in doubled.get_xticklabels()] == ["512", "2", "1"]


def test_many_ranks_are_bars_without_gaps() -> None:
    spread = Spread(label="a", family=0, values=tuple(1.0 + rank / 64 for rank in range(64)))
    axes = scalingplots.Memory([spread]).figure(narrow=True).axes[0]

    assert len(axes.patches) == 64
    assert abs(axes.patches[1].get_y() - axes.patches[0].get_y() - axes.patches[0].get_height()) < 1e-9


def test_repeats_are_means_with_whiskers_that_stay_above_nothing_and_the_caption_says_so() -> None:
    runs = [run(f"{n}-{seed}", n, 8.0 / n + late, seed=seed) for seed, late in ((1, 0.0), (2, 9.0)) for n in (1, 2)]
    found = scalingplots.drawings(results(*runs))

    with canvas.settings():
        plain = found["scaling"].figure(narrow=False).axes[0]
    whiskers = [line.get_ydata() for line in plain.lines if line.get_marker() == "_"]
    assert len(whiskers) == 2
    assert min(low for low, _ in whiskers) > 0
    assert scalingplots.WHISKERS in found["scaling"].caption()
    assert scalingplots.WHISKERS in found["efficiency"].caption()
