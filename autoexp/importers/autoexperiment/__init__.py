"""AutoExperiment's YAML with its templates, and megatron-autoexp's, which is made of it."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from autoexp import naming, recipes
from autoexp.importers import Imported
from autoexp.importers.autoexperiment import stages
from autoexp.importers.autoexperiment.order import counting, lifted, positions, settle
from autoexp.importers.autoexperiment.stages import HOME, Kind, title, with_log
from autoexp.importers.autoexperiment.tree import (
    JOB_FIELDS,
    SCALARS,
    Definition,
    body,
    definitions,
    kinds,
    label,
    variants,
)
from autoexp.importers.notes import Notes
from autoexp.importers.placeholders import HOLE, calculated, holes, in_python, native, number
from autoexp.lint.sweeps import names_read
from autoexp.naming import safe

MANAGED = (*JOB_FIELDS, "cmd", "name", "check_interval_secs", "job_id_regexp")
"""What AutoExperiment itself reads."""


def read(file: Path) -> Imported:
    """Read an experiment, and the templates it names.

    Raises:
        RecipeError: it is no YAML, or none of AutoExperiment's.
    """
    raw, places = recipes.load_yaml(file)
    notes = Notes(places)
    where = positions(raw)
    found = list(definitions(raw, (), notes))
    common = settle((one for one in found if not kinds(one)), where, notes)
    made = variants(found, notes)
    common, called = lifted(common, [each for one in made for each in one.own], where)
    texts = _Texts(file)
    listed = []
    for one in made:
        own = settle(counting(one.own, common, where, notes), where, notes)
        known = _known((*common, *own)) | called.keys()
        name = title(one.labels, next((str(d.value) for d in (*own, *common) if d.name == "template"), ""))
        listed.append(Kind(name, one.labels, own, common, known, notes, texts.find))
    _tell_of_the_manager(raw, notes)
    _tell_of_names(listed, notes)
    study = Writer(file, common, called, listed, calculated(raw), notes)
    return Imported(study.recipe(), tuple(notes.warnings))


def _known(found: Collection[Definition]) -> set[str]:
    return {name for one in found for name in (one.name, *one.brings())} | {"output_file"}


class _Texts:
    """Finds templates: where they say, beside the experiment, or there by their last name."""

    def __init__(self, file: Path) -> None:
        self._folder = file.parent

    def find(self, path: str) -> str | None:
        """Return a template's text; None where it is nowhere."""
        for place in (self._folder / path, Path(path), self._folder / Path(path).name) if path else ():
            if place.is_file():
                return place.read_text(encoding="utf-8")
        return None


def _tell_of_the_manager(raw: Mapping[str, Any], notes: Notes) -> None:
    """Say what becomes of the keys that steer AutoExperiment itself."""
    if "job_id_regexp" in raw:
        notes.tell("left-out", ("job_id_regexp",), "job_id_regexp is left out: ids are taken from sbatch itself")
    command = raw.get("cmd")
    if isinstance(command, str) and command.split() not in (["sbatch", "{sbatch_script}"], []):
        said = f"cmd is left out: the machine's executor submits; see to the rest of {command!r} in resources.options"
        notes.tell("left-out", ("cmd",), said)
    said = "a failed job was submitted again without end; here it has 10 attempts, more while checkpoints come"
    notes.tell("mended", (), said)


def _tell_of_names(listed: list[Kind], notes: Notes) -> None:
    """Say where jobs of several kinds would have had one name, which AutoExperiment refuses."""
    names = [(kind.field("name"), {one.name for one in kind.own}) for kind in listed]
    alike = [name for name, own in names if holes(name).isdisjoint(own)]
    if len(set(alike)) < len(alike):
        said = "AutoExperiment refuses this file, as jobs of several branches have one name; here each has its own id"
        notes.tell("mended", ("name",), said)


class Writer:
    """Puts a recipe together."""

    def __init__(  # noqa: PLR0917 - all that a recipe is made of
        self,
        file: Path,
        common: list[Definition],
        called: Mapping[str, str],
        kinds_: list[Kind],
        numbers: Collection[str],
        notes: Notes,
    ) -> None:
        self._file, self._common, self._called = file, common, called
        self._kinds, self._numbers, self._notes = kinds_, numbers, notes
        self._known = set().union(*(kind.known for kind in kinds_))
        self._switches = set().union(*(stages.switches(kind) for kind in kinds_))

    def recipe(self) -> dict[str, Any]:
        """Write all of it; params that nothing reads are left out."""
        made = {kind.name: self._stage(kind) for kind in self._kinds}
        if len(made) < len(self._kinds):
            why, fix = f"they are {', '.join(kind.name for kind in self._kinds)}", "rename a branch"
            raise self._notes.error((), "two kinds of jobs have one name", why=why, fix=fix)
        params = {HOME: os.path.abspath(self._file.parent)}  # noqa: PTH100 - links stay as they are
        params |= {one.name: self._value(one.value, one) for one in self._common if not one.is_axis}
        params |= {old: f"${{{new}}}" for old, new in self._called.items()}
        sweep = self._level([one for one in self._common if one.is_axis])
        used = _read([sweep, *({k: v for k, v in one.items() if k != "params"} for one in made.values())])
        levels = [params, *(one.get("params", {}) for one in made.values())]
        used.add("program")
        while more := set().union(*(_read(level[n]) for level in levels for n in level if n in used)) - used:
            used |= more
        self._tell_unused(params, used)
        for one in made.values():
            one["params"] = {name: value for name, value in one["params"].items() if name in used}
        stages_ = {name: {k: v for k, v in one.items() if v != {}} for name, one in made.items()}
        kept = {name: value for name, value in params.items() if name in used}
        stem = self._file.stem if self._file.stem != "config" else self._file.absolute().parent.name
        return {
            "study": safe(stem).strip("._-+") or "study",
            **({"params": kept} if kept else {}),
            **({"sweep": sweep} if sweep else {}),
            "stages": stages_,
        }

    def _tell_unused(self, params: Mapping[str, Any], used: Collection[str]) -> None:
        unused = [name for name in params if name not in used and name not in (HOME, *MANAGED)]
        if unused:
            self._notes.tell("left-out", (), f"nothing reads {', '.join(unused)}: left out")

    def _stage(self, kind: Kind) -> dict[str, Any]:
        made = stages.stage(kind, self._kinds)
        fixed = {one.name: self._value(_logged(one, kind), one) for one in kind.own if not one.is_axis}
        logged = [one for one in self._common if _logged(one, kind) != one.value and one.name in JOB_FIELDS]
        fixed |= {one.name: self._value(_logged(one, kind), one) for one in logged if one.name not in fixed}
        fixed["output_file"] = "${dir}/current.log"
        taken = self._taken_over(kind)
        sweep = self._level([one for one in kind.own if one.is_axis and one.path not in taken])
        params = {**made.pop("params", {}), **fixed}
        return {**({"sweep": sweep} if sweep else {}), "params": params, **made}

    def _taken_over(self, kind: Kind) -> set[Any]:
        """List the axes that a conversion has from the training it stands for."""
        parent = stages.parent_of(kind, self._kinds) if kind.is_conversion else None
        return {one.path for one in parent.own} if parent else set()

    def _level(self, axes: list[Definition]) -> dict[str, Any]:
        """Write axes as a level of a sweep, in their order; a level of its own begins where they change their kind."""
        groups: list[dict[str, dict[str, Any]]] = []
        for one in axes:
            key, name, values = self._axis(one)
            if not groups or key not in groups[-1]:
                groups.append({key: {}})
            groups[-1][key][name] = values
        if len(groups) > 1:
            return {"groups": groups}
        return dict(groups[0]) if groups else {}

    def _axis(self, one: Definition) -> tuple[str, str, list[Any]]:
        if one.is_named:
            return "configs", one.name, [{label(entry): self._entry(entry, one)} for entry in one.value]
        values = [self._value(value, one) for value in one.value]
        if not holes(one.value) and len(set(map(naming.label, values))) == len(values):
            return "params", one.name, values
        names = [safe(str(raw)) for raw in one.value]  # an axis' own values must not need the other axes'
        names = names if len(set(names)) == len(names) else [f"choice{number}" for number in range(1, len(names) + 1)]
        named = zip(names, values, strict=True)
        return "configs", f"{one.name}_choice", [{name: {one.name: value}} for name, value in named]

    def _entry(self, entry: Mapping[str, Any], axis: Definition) -> dict[str, Any]:
        inside = list(definitions(body(entry), axis.path, self._notes))
        fixed = {one.name: self._value(one.value, axis) for one in inside if not one.is_axis}
        level = self._level([one for one in inside if one.is_axis])
        return {**level, **({"defaults": fixed} if fixed else {})} if level else fixed

    def _value(self, raw: Any, definition: Definition) -> Any:
        if not isinstance(raw, str) or not isinstance(raw, SCALARS):
            return raw
        plain = number(raw) if definition.name in self._numbers else raw
        if not isinstance(plain, str):
            return plain
        written = native(raw, self._known, lambda said: self._notes.tell("unsure", definition.path, said))
        return in_python(written, self._switches) if HOLE.fullmatch(raw) is None else written


def _read(value: Any) -> set[str]:
    """List the names that a value needs, also where it could only be left as it was written."""
    return {*names_read(value), *holes(value)}


def _logged(definition: Definition, kind: Kind) -> Any:
    """Name the job's log in its conditions, where its path is spelled out."""
    is_text = isinstance(definition.value, str) and definition.name != "output_file"
    return with_log(definition.value, kind) if is_text else definition.value
