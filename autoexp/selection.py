"""Choosing jobs by what they are: `model == "10M" and lr < 1e-3 and state == "failed"`. Pure.

The language is that of `${calc:'...'}`, with bare names: a job's axes and params, `job stage study state attempt`,
and `iteration` of one that appeared for a checkpoint.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autoexp.calculation import HOLE, Calculation, ExpressionError, compile_calculation
from autoexp.conditions import jobs_of
from autoexp.errors import AutoexpError
from autoexp.model import Job, JobSpec
from autoexp.outline import Plan, attach


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of jobs; a job that lacks one of its names is not chosen."""

    text: str
    names: tuple[str, ...]
    calculate: Calculation

    def chooses(self, job: Job) -> bool:
        """Say whether a job is chosen.

        Raises:
            AutoexpError: its values make no sense there, such as text that is less than a number.
        """
        known = names_of(job)
        if not set(self.names) <= known.keys():
            return False
        try:
            return bool(self.calculate([known[name] for name in self.names]))
        except ExpressionError as error:
            raise _refused(self.text, f"for the job {job.id}: {error}", error.fix) from error

    def check(self, jobs: Iterable[Job]) -> None:
        """Make sure that some job has each of its names.

        Raises:
            AutoexpError: none has.
        """
        named = [names_of(job) for job in jobs]
        known = {name for values in named for name in values}
        for name in self.names if known else ():
            if name not in known:
                is_text = any(name == value for values in named for value in values.values())
                fix = f'write "{name}", if it is a text; else ' if is_text or len(self.names) > 1 else ""
                raise _refused(self.text, f"no job has a {name!r}", f"{fix}use one of {', '.join(sorted(known))}")

    def restrict(self, plan: Plan) -> Plan:
        """Keep of a plan the chosen jobs, and those that they wait for or appear for.

        Raises:
            AutoexpError: no job has one of its names, or none is chosen.
        """
        specs = {spec.id: spec for spec in (*plan.jobs, *plan.previews)}
        jobs = [Job(spec=spec) for spec in specs.values()]
        self.check(jobs)
        wanted = [job.id for job in jobs if self.chooses(job)]
        if not wanted:
            raise _refused(self.text, f"it fits none of the {len(jobs)} jobs of {plan.study}", _EXAMPLE)
        kept: set[str] = set()
        while wanted:
            if (name := wanted.pop()) not in kept:
                kept.add(name)
                wanted += [*specs[name].needs, *_asked(specs[name])]
        templates = tuple(template for template in plan.templates if template.id in kept)
        return replace(
            plan,
            jobs=tuple(attach((replace(job, children=()) for job in plan.jobs if job.id in kept), templates)),
            templates=templates,
            previews=tuple(preview for preview in plan.previews if preview.id in kept),
        )


def _asked(spec: JobSpec) -> Iterator[str]:
    for condition in filter(None, (spec.start, spec.cancel, spec.finish)):
        yield from jobs_of(condition)


def names_of(job: Job) -> Mapping[str, Any]:
    """List what a job can be chosen by."""
    spec = job.spec
    own = {"job": spec.id, "stage": spec.stage, "study": spec.study, "state": str(job.state), "attempt": job.attempt}
    checkpoint = {} if spec.iteration is None else {"iteration": spec.iteration}
    return {**checkpoint, **spec.params, **spec.values, **own}


def read(text: str) -> Selection:
    """Read a choice.

    Raises:
        AutoexpError: it is no expression.
    """
    names: list[str] = []
    try:
        tree = ast.parse(text.strip(), mode="eval")
        called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node not in called:
                if node.id not in names:
                    names.append(node.id)
                node.id = HOLE.format(names.index(node.id))
        return Selection(text, tuple(names), compile_calculation(ast.unparse(tree), text))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        problem = error.args[0] if error.args else "it is nested too deeply"
        raise _refused(text, str(problem), _EXAMPLE) from error
    except ExpressionError as error:
        raise _refused(text, str(error), _EXAMPLE) from error


_EXAMPLE = """write for example --where 'model == "10M" and lr < 1e-3'"""


def _refused(text: str, why: str, fix: str) -> AutoexpError:
    return AutoexpError(f"{text!r} chooses no jobs", why=why, fix=fix)
