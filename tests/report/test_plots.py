import re
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib as mpl
import pytest

from autoexp.report import curves, plots
from autoexp.report.canvas import Plot
from autoexp.report.colors import LIGHT
from autoexp.report.curves import Bar
from autoexp.report.results import read

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def drawn(shared_ladder: Any) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots.draw(read(shared_ladder))}


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - ours


def test_both_plots_come_as_png_and_svg(drawn: dict[str, Plot]) -> None:
    assert list(drawn) == ["loss", "throughput"]
    for plot in drawn.values():
        assert plot.png.startswith(PNG)
        assert ET.fromstring(plot.svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours


def test_axes_have_their_units(drawn: dict[str, Plot]) -> None:
    assert {"training tokens", "loss (nats per token)"} <= set(texts(drawn["loss"].svg))
    assert "tokens per second (median)" in texts(drawn["throughput"].svg)


def test_the_legend_tells_lines_and_marks_of_pretrainings_and_cooldowns(drawn: dict[str, Plot]) -> None:
    named = {"lr 0.01", "pretraining", "cooldown", "held-out, pretraining", "held-out, cooldown"}
    assert named <= set(texts(drawn["loss"].svg))


def test_without_cooldowns_the_legend_needs_fewer_words(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0, 20: 2.0})
    maker.evaluate("pretrain", 20, 2.1)
    loss, _ = plots.draw(read(maker.study()))
    assert {"training", "held-out"} <= set(texts(loss.svg))
    assert not {"pretraining", "cooldown"} & set(texts(loss.svg))


def test_a_training_that_diverged_is_marked(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 3.0, 20: 2.0, 30: None})
    loss, _ = plots.draw(read(maker.study()))
    assert "not a number from here" in texts(loss.svg)
    assert LIGHT["bad"] in loss.svg


def test_what_goes_into_the_page_takes_its_colors_and_its_size_from_there(drawn: dict[str, Plot]) -> None:
    for plot in drawn.values():
        for svg in (plot.inline, plot.narrow):
            assert svg.startswith("<svg ")
            head = svg[: svg.index(">")]
            assert "viewBox" in head
            assert " width=" not in head
            assert not any(color in svg for color in LIGHT.values())


def test_drawings_in_one_page_share_no_ids_and_need_nothing_outside(drawn: dict[str, Plot]) -> None:
    parts = [svg for plot in drawn.values() for svg in (plot.inline, plot.narrow)]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in parts]
    assert sum(map(len, ids)) == len({one for listed in ids for one in listed})
    for svg, known in zip(parts, ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used <= set(known)
        assert not re.search(r'href="(?!#)|url\((?!#)|<image|<script|@import', svg)


def test_a_study_with_nothing_to_show_says_so(maker: Any) -> None:
    maker.train("pretrain")
    loss, throughput = plots.draw(read(maker.study()))
    assert "no run has reported a loss yet" in texts(loss.svg)
    assert "no run has reported its speed yet" in texts(throughput.svg)
    assert (loss.caption, throughput.caption) == ("", "")


def test_names_that_look_like_formulas_are_only_names(maker: Any) -> None:
    job = maker.train("pretrain", values={"text": "$x_1$ <b> \\alpha", "_hidden": 1})
    maker.losses(job, {10: 3.0, 20: 2.0})
    loss, throughput = plots.draw(read(maker.study()))
    assert loss.png.startswith(PNG)
    assert throughput.png.startswith(PNG)


def test_the_same_results_give_the_same_bytes_whatever_the_users_settings(
    shared_ladder: Any, drawn: dict[str, Plot]
) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "pink"}):
        assert plots.draw(read(shared_ladder)) == list(drawn.values())
        assert mpl.rcParams["font.size"] == 30


def test_a_legend_names_so_many_families_and_counts_the_others() -> None:
    names = [f"seed {number}" for number in range(70)]
    drawing = plots._Loss([], [], (2.0, 3.0), names)
    assert "and 54 more" in drawing._legend()[1]
    assert "seed 16" not in drawing._legend()[1]
    assert "colours repeat" in drawing.caption()


def test_bars_are_as_many_as_a_plot_can_hold() -> None:
    bar = Bar(label="a", family=0, median=2.0, low=1.0, high=3.0)
    drawing = plots._Speed([bar] * 70)
    assert len(drawing.figure(narrow=True).axes[0].patches) == 60
    assert "The first 60 of 70 runs are shown." in drawing.caption()


def test_the_caption_says_what_is_cut_off_and_what_is_smoothed(maker: Any) -> None:
    wobble = {i: 2 + 30 / i + (0.1 if i % 20 else -0.1) for i in range(10, 500, 10)}
    maker.losses(maker.train("pretrain"), {1: 11.0, **wobble})
    results = read(maker.study())
    lines = curves.loss_curves(results)
    caption = plots._Loss(lines, [], curves.loss_limits(lines, []), ["a"]).caption()
    assert "smoothed" in caption
    assert "The steep first steps are cut off above." in caption
