from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import report
from autoexp.model import JSON
from autoexp.report.html import Figure, Page, _table, render
from autoexp.report.spelling import Column, Kind, Table
from tests.browser import PHONE, WIDE, Browser

COLUMNS = (
    Column(key="job", title="job"),
    Column(key="state", title="state"),
    Column(key="held_out_loss", title="held-out loss", kind=Kind.LOSS),
    Column(key="better", title="better", kind=Kind.FLAG),
    Column(key="secret", title="secret", files_only=True),
    Column(key="notes", title="notes", kind=Kind.NOTES),
)


class Reader(HTMLParser):
    """Collects what a browser would show, and which elements hold it."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.shown: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.shown.append(data)


def page(*sections: Figure | Table, name: str = "ladder", **swatches: tuple[str, bool]) -> Page:
    return Page(
        title=name,
        subtitle=f"about {name}",
        headlines=[f"{name} is best"],
        sections=sections,
        facts={"recipe": name},
        swatches=swatches,
    )


def table(*rows: dict[str, Any]) -> Table:
    return Table(name="runs", title="Runs", columns=COLUMNS, rows=rows, caption="how to read it")


def read(made: Page) -> Reader:
    reader = Reader()
    reader.feed(render(made))
    assert reader.open == []
    return reader


def test_a_job_named_like_a_tag_is_shown_as_text() -> None:
    reader = read(page(table({"job": "<script>alert(1)</script>", "notes": ["<b>"]}), name="<img src=x>"))
    assert "<script>alert(1)</script>" in reader.shown
    assert {"<img src=x>", "<b>"} <= set(reader.shown)
    assert not {"script", "img", "b"} & set(reader.tags)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
def test_no_text_of_a_study_becomes_markup(text: str) -> None:
    plain = read(page(table({"job": "a", "state": "b", "notes": ["c"]}))).tags
    reader = read(page(table({"job": text, "state": text, "notes": [text]}), name=text))
    assert reader.tags == plain
    assert [shown for shown in reader.shown if text in shown][:2] == [text, text]


def test_the_page_needs_nothing_else() -> None:
    made = page(table({"job": "a"}), Figure(title="Loss", wide="<svg/>", narrow="<svg/>", caption="c"))
    text = render(made)
    assert read(made).outside == []
    assert not any(word in text for word in ("http:", "https:", "@import", "url(", "<script", "<link"))


def test_the_page_knows_the_dark_the_phone_and_the_paper() -> None:
    text = render(page())
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert "@media (max-width: 40rem)" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def test_a_table_has_its_rows_without_what_is_for_files_only() -> None:
    reader = read(page(table({"job": "a", "state": "running", "held_out_loss": 2.5, "better": True, "secret": "x"})))
    assert reader.shown[4:] == [
        *("Runs", "job", "state", "held-out loss", "better", "a", "running", "2.5000", "yes", "how to read it"),
        *("Where this comes from", "recipe", "ladder"),
    ]


def test_what_is_missing_is_a_dash_and_its_notes_stand_below() -> None:
    text = render(page(table({"job": "a", "held_out_loss": None, "notes": ["torn", "late"]})))
    assert '<td class="missing">-</td>' in text
    assert '<tr class="notes"><td colspan="4"><div>torn; late</div></td></tr>' in text


def test_rows_without_notes_have_no_line_for_them() -> None:
    assert '<tr class="notes">' not in render(page(table({"job": "a", "notes": []})))


def test_the_lowest_held_out_loss_is_marked() -> None:
    text = render(page(table({"job": "a", "held_out_loss": 2.5}, {"job": "b", "held_out_loss": 2.0})))
    assert '<td class="best">2.0000</td>' in text
    assert "<td>2.5000</td>" in text


@pytest.mark.parametrize(
    ("row", "cell"),
    [
        ({"state": "succeeded"}, '<td class="words good">succeeded</td>'),
        ({"state": "failed"}, '<td class="words bad">failed</td>'),
        ({"state": "waiting"}, '<td class="words">waiting</td>'),
        ({"better": False}, '<td class="words bad">no</td>'),
    ],
)
def test_colors_follow_what_the_words_say(row: dict[str, Any], cell: str) -> None:
    assert cell in render(page(table({"job": "a", **row})))


def test_a_job_bears_the_color_of_its_curve() -> None:
    text = render(page(table({"job": "a"}, {"job": "b"}), a=("s1", False), b=("s1", True)))
    assert '<span class="swatch" style="background: var(--s1)"></span>a' in text
    assert '<span class="swatch cooldown" style="background: var(--s1)"></span>b' in text


def test_a_figure_is_there_for_screens_and_for_phones() -> None:
    text = render(page(Figure(title='L "1"', wide="<svg>w</svg>", narrow="<svg>n</svg>", caption="<c>")))
    assert '<div class="wide" role="img" aria-label="L &quot;1&quot;"><svg>w</svg></div>' in text
    assert '<div class="narrow" role="img" aria-label="L &quot;1&quot;"><svg>n</svg></div>' in text
    assert "<figcaption>&lt;c&gt;</figcaption>" in text


def test_columns_that_paper_has_no_room_for_stand_in_a_second_table() -> None:
    columns = (Column(key="job", title="job"), Column(key="a", title="A"), Column(key="b", title="B", below=True))
    notes = Column(key="notes", title="notes", kind=Kind.NOTES)
    row: dict[str, JSON] = {"job": "one", "a": "x", "b": "y", "notes": ["why"]}
    text = _table(Table(name="t", title="T", columns=(*columns, notes), rows=(row,)), {})

    first, second = text.split("</table>")[:2]
    assert (">A<" in first, ">B<" in first, "why" in first) == (True, False, True)
    assert (">A<" in second, ">B<" in second, "why" in second, ">one<" in second) == (False, True, False, True)


def test_a_browser_shows_the_report_without_complaint_and_asks_nobody_else(maker: Any, browser: Browser) -> None:
    maker.train("pretrain-lr0.1", values={"lr": 0.1})
    maker.losses("pretrain-lr0.1", {10 * n: 5 - n / 10 for n in range(1, 20)})
    page = report.save(report.make(maker.study()))

    browser.open(page.as_uri())

    assert browser.complaints() == []
    assert browser.requested() == [page.as_uri()]
    assert browser.run("return document.querySelectorAll('tbody tr').length") >= 1
    paper = []
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        paper.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert paper[0] != paper[1]
