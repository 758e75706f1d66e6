from typing import Any

import matplotlib as mpl

from autoexp.report import canvas
from autoexp.report.colors import LIGHT


class Dots:
    def figure(self, *, narrow: bool) -> Any:
        return canvas.in_rows(["a", "b"], lambda axes, place: axes.plot(place, place, "o"), "x", 1.0, narrow=narrow)

    def caption(self) -> str:
        return "two dots"


def test_a_drawing_comes_in_all_forms_and_leaves_the_users_settings_alone() -> None:
    before = mpl.rcParams["axes.edgecolor"]
    with canvas.settings():
        assert mpl.rcParams["axes.edgecolor"] == LIGHT["muted"]
        made = canvas.plot("dots", Dots())

    assert mpl.rcParams["axes.edgecolor"] == before
    assert made.png.startswith(b"\x89PNG")
    assert made.svg.startswith("<?xml")
    assert made.inline.startswith("<svg ")
    assert (made.inline != made.narrow, made.caption) == (True, "two dots")


def test_rows_are_as_many_as_there_is_room_for() -> None:
    seen: list[int] = []
    canvas.in_rows(["a"] * 70, lambda _, place: seen.append(place), "x", 1.0, narrow=True)

    assert seen == list(range(60))
    assert (canvas.left_out(60), canvas.left_out(70)) == ("", " The first 60 of 70 runs are shown.")
