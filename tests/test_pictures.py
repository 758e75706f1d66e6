"""The README's pictures, and what they show: the page beside a training that is real."""

from typing import TYPE_CHECKING

from tests.commands.test_demo import PRETRAINING
from tests.pictures import FOLDER, drawn, fingerprint

if TYPE_CHECKING:
    from tests.browser import Browser
    from tests.conftest import Room


def test_the_pictures_are_of_the_page_and_the_screen_as_they_are_now() -> None:
    assert (FOLDER / "of.txt").read_text() == f"{fingerprint()}\n", "make pictures, and look at them"


def test_the_readme_shows_them() -> None:
    readme = (FOLDER.parent.parent / "README.md").read_text()

    for name in ("overview.png", "graph.png", "terminal.svg"):
        assert (FOLDER / name).is_file()
        assert f"(docs/pictures/{name})" in readme


def test_a_terminal_is_drawn_with_its_colours_and_nothing_in_it_is_markup() -> None:
    picture = drawn(["plain <b>", "\x1b[31mfailed\x1b[0m  one & all"])

    shown = picture.replace("\N{NO-BREAK SPACE}", " ")
    assert "plain &lt;b&gt;</text>" in shown
    assert '<tspan fill="#ff8a80">failed</tspan>  one &amp; all</text>' in shown


def test_the_page_fills_while_a_training_runs(room: "Room", browser: "Browser") -> None:
    room.write("demo.yaml", PRETRAINING.replace("train-iters: 10", "train-iters: 600"))
    room.run("plan", "demo.yaml")
    browser.open(room.serve())
    browser.wait_for("#overview .counts", "1 waiting")
    browser.wait_for("#notices", "No watcher runs")

    room.watch("--until-done")

    browser.wait_for("#overview .counts", "1 running")
    browser.click("#overview .name")
    browser.wait_for(".row", "/600")
    browser.click(".row .job")
    browser.wait_for("figcaption", "Loss", "Seconds per iteration")
    browser.wait_for(".log", "iteration", "lm loss")
    browser.wait_for(".headline", "succeeded")
    assert browser.complaints() == []
