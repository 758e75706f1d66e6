import pytest

from autoexp.report import colors


def linear(color: str) -> list[float]:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    low, high = sorted(
        sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear(c), strict=True)) for c in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [colors.LIGHT, colors.DARK], ids=["light", "dark"])
def test_lines_stand_out_from_the_paper_and_words_even_more(scheme: dict[str, str]) -> None:
    for number in range(colors.FAMILIES):
        assert contrast(scheme[colors.family(number)], scheme["paper"]) >= 3
    for words in ("ink", "muted", "good", "bad"):
        assert contrast(scheme[words], scheme["paper"]) >= 4.5


def test_every_light_color_has_its_dark_twin_and_is_unique() -> None:
    assert colors.LIGHT.keys() == colors.DARK.keys()
    assert len(set(colors.LIGHT.values())) == len(colors.LIGHT)


def test_families_beyond_the_last_color_begin_again() -> None:
    assert [colors.family(number) for number in (0, 7, 8)] == ["s1", "s8", "s1"]


def test_a_drawing_takes_its_colors_from_the_page() -> None:
    svg = f'<path style="fill: {colors.LIGHT["s1"]}; stroke: {colors.LIGHT["paper"]}"/>'
    assert colors.with_variables(svg) == '<path style="fill: var(--s1); stroke: var(--paper)"/>'
