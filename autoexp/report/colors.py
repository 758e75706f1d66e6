"""The report's colours, for light paper and for dark screens.

Plots are drawn in the light ones, which are right for print and for files. Inside the page each is replaced by its
CSS variable, so one drawing serves both: no two of the light ones may be the same.

The families' colours were chosen so that the first four differ by at least 27 (CIE76), in normal sight and in
simulated protanopia, deuteranopia and tritanopia, and contrast with their background by at least 3 to 1.
"""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c1e21",
    "muted": "#5c626b",
    "line": "#dfe2e7",
    "good": "#16744f",
    "bad": "#b3261e",
    "s1": "#1a53d6",
    "s2": "#b3380d",
    "s3": "#1ba583",
    "s4": "#5d1a5b",
    "s5": "#c18a08",
    "s6": "#8a8ccf",
    "s7": "#4d1013",
    "s8": "#4f7f8b",
}
DARK = {
    "paper": "#14171c",
    "ink": "#e8eaed",
    "muted": "#a3abb6",
    "line": "#313740",
    "good": "#5fd6a2",
    "bad": "#ff8a80",
    "s1": "#4aa3ff",
    "s2": "#ff8a2a",
    "s3": "#3df0b4",
    "s4": "#b8689a",
    "s5": "#e3ea7a",
    "s6": "#8d74ff",
    "s7": "#ff5964",
    "s8": "#b9e6f2",
}
FAMILIES = 8
"""How many families have a colour of their own; more of them begin again."""


def family(number: int) -> str:
    """Name the colour of a family, counted from 0."""
    return f"s{number % FAMILIES + 1}"


def with_variables(svg: str) -> str:
    """Replace the light colours of a drawing by CSS variables."""
    for name, color in LIGHT.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg


def declarations(scheme: dict[str, str]) -> str:
    """Spell a colour scheme as CSS variables."""
    return " ".join(f"--{name}: {color};" for name, color in scheme.items())
