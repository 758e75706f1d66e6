"""A template of AutoExperiment: an sbatch script with `{NAME}` in it, as resources, environment and program. Pure.

Values go into the script by the environment, so that quotes and here-documents around them stay as they are.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.expressions import literal
from autoexp.importers.notes import SIGNALLED
from autoexp.importers.placeholders import Tell, is_format, pasted, valued
from autoexp.importers.times import walltime
from autoexp.policies import REQUEUES

_DIRECTIVE = re.compile(r"#SBATCH\s+(.*)")
_OPTION = re.compile(r"--?(?P<name>[\w-]+)(?:[= ]\s*(?P<value>.*?))?\s*$")
_SHORT = {
    "A": "account", "p": "partition", "N": "nodes", "t": "time", "q": "qos", "J": "job-name", "o": "output",
    "e": "error", "c": "cpus-per-task", "n": "ntasks", "G": "gpus", "C": "constraint", "w": "nodelist",
    "a": "array", "D": "chdir",
}  # fmt: skip
_OURS = ("job-name", "output", "error", "open-mode", "chdir", "export", "array", "signal")
LOST = {
    "array": "one job is submitted for each point: make what it counts an axis",
    "chdir": "the script begins in the experiment's folder: let it begin with cd",
    "signal": SIGNALLED,
    "export": "a script sees what env: and the machine file give it, and nothing else of the shell that submits",
}
"""Of these, what changes the program's work, and what becomes of it."""
_HOLE = re.compile(r"\{\{|\}\}|(?P<ours>(?<!\$))?\{(?P<name>[A-Za-z_]\w*)(?P<rest>(?(ours):[^{}]*|(?!)))?\}")
"""A name in braces, perhaps with a format; what stands behind the $ of a shell has none."""
_FORMAT = re.compile(r"\{\{|\}\}|(?P<whole>\{(?P<name>[A-Za-z_]\w*)(?P<rest>(?:[!:\[]|\.(?=[A-Za-z_]))[^{}]*)\})")
TAKEN = frozenset({"PATH", "HOME", "USER", "LANG", "TMPDIR", "SHELL", "PWD", "IFS", "HOSTNAME"})
"""Variables that a script must find as they are."""


@dataclass(frozen=True, slots=True)
class Template:
    """An sbatch script in two parts."""

    options: Mapping[str, str] = field(default_factory=dict)
    """What `#SBATCH` asks for, by its long name."""
    script: str = ""
    """The rest, `{NAME}` and `{{` as they were."""


def parse(text: str) -> Template:
    """Take a template apart."""
    options: dict[str, str] = {}
    lines = []
    for line in text.splitlines():
        if directive := _DIRECTIVE.match(line):
            if found := _OPTION.match(directive[1].partition(" #")[0]):
                options[_SHORT.get(found["name"], found["name"])] = (found["value"] or "").strip("\"'")
        elif not line.startswith("#!"):
            lines.append(line if line.rstrip().endswith("\\") else line.rstrip())
    return Template(options, "\n".join(lines).strip("\n") + "\n")


def names(text: str) -> set[str]:
    """List the names that a template refers to."""
    return {found["name"] for found in _HOLE.finditer(text) if found["name"] and not found["rest"]}


def formats(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the names that a template formats, or takes a part of, each with all of it and with how it does."""
    yield from ((found["name"], found["whole"], found["rest"]) for found in _FORMAT.finditer(text) if found["name"])


def plain(text: str) -> str:
    """Undo the doubling of braces."""
    return text.replace("{{", "{").replace("}}", "}")


# Resources


def resources(options: Mapping[str, str], known: Collection[str], tell: Tell) -> dict[str, object]:
    """Write what the template asks of Slurm as a stage's resources."""
    said = {name: pasted(value, known, tell) for name, value in options.items() if name not in _OURS}
    found: dict[str, object] = {}
    tasks, cores = said.pop("ntasks-per-node", None), said.pop("cpus-per-task", None)
    if (nodes := said.pop("nodes", None)) is not None:
        found["nodes"] = _count(nodes)
    gpus = [said.pop(name, "") for name in ("gres", "gpus-per-node")]
    if count := next((text.rpartition(":")[2] for text in reversed(gpus) if text), ""):
        found["gpus_per_node"] = _count(count)
    if tasks is not None:
        found["processes_per_node"] = _count(tasks)
    if cores is not None:
        found["cpus"] = _product(tasks or "1", cores)
    if (memory := said.pop("mem", "0")) != "0":
        found["memory"] = _memory(memory)
    if (time := said.pop("time", None)) is not None:
        found["walltime"] = walltime(time)
    for name in REQUEUES:
        if said.pop(name, None) is not None:
            found["requeue"] = name == "requeue"
    found |= {name: said.pop(name) for name in ("partition", "account", "qos") if name in said}
    rest: dict[str, object] = {name: value or True for name, value in said.items()}
    return {**found, **({"options": rest} if rest else {})}


def _count(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _product(one: str, other: str) -> int | str:
    if one.isdecimal() and other.isdecimal():
        return int(one) * int(other)
    return other if one == "1" else f"${{calc:'{one} * {other}'}}"


def _memory(text: str) -> str:
    units = {"K": "KiB", "M": "MiB", "G": "GiB", "T": "TiB"}
    unit = text[-1:].upper()
    return f"{text[:-1]}{units[unit]}" if unit in units else f"{text}MiB" if text.isdecimal() else text


# The script


@dataclass(frozen=True, slots=True)
class Script:
    """A template's program as a script of ours."""

    text: str
    variables: Mapping[str, str]
    """The variables that it reads, each with its value in the recipe."""
    signs: Mapping[str, str]
    """By that name, the signs that the shell would have read in a value where it stood; here they are text."""


def script(template: Template, known: Collection[str]) -> Script:
    """Write the program as a script of ours."""
    variables: dict[str, str] = {}
    signs: dict[str, str] = {}
    pieces: list[str] = []
    for part in _parts(template.script):
        quote, at, text = part.quote, 0, part.text
        for hole in _HOLE.finditer(text):
            before = text[at : hole.start()]
            quote, at = _quote(before, quote) if part.is_code else quote, hole.end()
            pieces.append(part.spell(before))
            name, rest = hole["name"], hole["rest"] or ""
            if name is None or name not in known or not is_format(rest):
                pieces.append(hole[0] if name else hole[0][0])
                continue
            value = valued(name, rest)
            variable = _variable(name + re.sub(r"\W", "_", rest), template.script)
            while variables.get(variable, value) != value or (rest and variable in known):
                variable += "_"
            variables[variable] = value
            signs[name] = signs.get(name, "") + _READ[quote]
            follows = text[at : at + 1]
            spelled = f"${{{variable}}}" if follows.isalnum() or follows in {"_", "["} else f"${variable}"
            pieces.append(f"'\"{spelled}\"'" if quote == "'" else spelled)
        pieces.append(part.spell(text[at:]))
    return Script(str(literal("".join(pieces))), variables, signs)


_DOCUMENT, _VERBATIM = "<<", "<<'"
_READ = {"": "$`\\\"'", '"': '$`\\"', "'": "'", "#": "", _DOCUMENT: "$`\\", _VERBATIM: ""}
"""What the shell reads in a text, by the quote that is open there."""
_OPERATOR = re.compile(
    r"(?<!<)<<(?P<tabs>-?)[ \t]*(?P<quoted>(?P<quote>[\"'])(?P<one>[^\"'\s]+)(?P=quote)|\\(?P<two>\w+))"
    r"|(?<!<)<<(?P<bare_tabs>-?)[ \t]*(?P<bare>[A-Za-z_]\w*)"
)
_SPECIAL = re.compile(r"[$`\\]")


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines of a script: code, or the body of a here-document."""

    text: str
    quote: str = ""
    """Which one is open at its beginning; of a body, what kind it is."""

    @property
    def is_code(self) -> bool:
        return not self.quote.startswith(_DOCUMENT)

    def spell(self, text: str) -> str:
        """Write what stands between values; so that a body says the same when bash no longer takes it verbatim."""
        return _SPECIAL.sub(r"\\\g<0>", text) if self.quote == _VERBATIM else text


def _parts(text: str) -> Iterator[_Part]:
    """Take a script's here-documents out of its code; those with values in them lose the quotes of their delimiters."""
    quote, lines = "", text.splitlines(keepends=True)
    while lines:
        line = lines.pop(0)
        while line.endswith("\\\n") and lines:
            line += lines.pop(0)
        code = line
        bodies: list[_Part] = []
        for found in _operators(line, quote):
            body = _body(lines, found)
            has_values = any(hole["name"] for hole in _HOLE.finditer(body.text))
            if body.quote == _VERBATIM and has_values:
                code = code.replace(found[0], found[0].replace(found["quoted"], found["one"] or found["two"]), 1)
            bodies += [body] if has_values else [_Part(body.text, _DOCUMENT)]
            bodies.append(_Part(lines.pop(0) if lines else "", _DOCUMENT))
        yield _Part(code, quote)
        quote = _quote(line, quote)
        yield from bodies


def _operators(line: str, quote: str) -> Iterator[re.Match[str]]:
    """List where a line begins here-documents: not within quotes, and not where << shifts a number."""
    for found in _OPERATOR.finditer(line):
        before = line[: found.start()]
        if not _quote(before, quote) and before.count("((") <= before.count("))"):
            yield found


def _body(lines: list[str], found: re.Match[str]) -> _Part:
    """Take the lines of a here-document."""
    end = found["one"] or found["two"] or found["bare"]
    tabs = "\t" if found["tabs"] or found["bare_tabs"] else ""
    body: list[str] = []
    while lines and lines[0].rstrip("\n").lstrip(tabs or "\n") != end:
        body.append(lines.pop(0))
    return _Part("".join(body), _VERBATIM if found["quoted"] else _DOCUMENT)


def _variable(name: str, text: str) -> str:
    """Name the variable that carries a value: its own name, unless the script means something else by it."""
    others = re.finditer(rf"(?m)^\s*(?:export\s+)?{name}=[\"']?(?!\{{{name}\}})", text)
    return f"given_{name}" if name in TAKEN or any(others) else name


def _quote(text: str, quote: str) -> str:
    """Follow bash's quotes: return which one is open behind a text."""
    at = 0
    while at < len(text):
        sign = text[at]
        if quote == "#":
            end = text.find("\n", at)
            quote, at = ("#", len(text)) if end < 0 else ("", end)
            continue
        if sign == "\\" and quote != "'":
            at += 2
            continue
        if not quote and sign == "#" and text[at - 1 : at] in {"", " ", "\t", "\n"}:
            quote = "#"
            continue
        if sign in "\"'" and quote in {"", sign}:
            quote = "" if quote else sign
        at += 1
    return quote
