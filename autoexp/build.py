"""One job from one stage: the stage's body, evaluated in the job's scope. Pure.

`Builder.build` goes through the stage's keys; every problem is reported at the key that caused it, with the job.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from autoexp import backends, containers, fabrics, policies, rulebook
from autoexp.backends import Launch
from autoexp.blame import Blame
from autoexp.budget import gpus_of
from autoexp.calculation import ExpressionError
from autoexp.conditions import read_condition
from autoexp.containers import Container
from autoexp.evaluation import Evaluation
from autoexp.expressions import UndefinedName, is_constant
from autoexp.model import JSON, Condition, HookCall, JobSpec, Resources, RetryPolicy, Rule
from autoexp.naming import LONGEST_ID, job_id
from autoexp.places import KeyPath
from autoexp.scope import OF_A_CHECKPOINT, JobScope
from autoexp.shell import word
from autoexp.stages import Recipe, Stage
from autoexp.sweep import Point
from autoexp.world import HookInfo, World, checkpoint_name, home_of, job_dir, result_of

STRICT_BASH = ("bash", "-eo", "pipefail", "-c")
"""How a command written as a script runs: the first command that fails ends it."""
OF_A_HOOK = ("checkpoint", "output")
"""What a hook that is run as a job is told by itself."""


class NoSibling(ExpressionError):
    """No job of a stage, or several, agree with the one that refers to it."""


class Family(Protocol):
    """What a builder asks about other jobs."""

    def sibling(self, stage: str, asker: "Builder") -> JobSpec:
        """Find the one job of a stage that agrees with the asker; raise NoSibling otherwise."""

    def members(self, stage: str, asker: "Builder") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """List the jobs and the templates of a stage that agree with the asker; raise NoSibling without any."""


@dataclass(slots=True, kw_only=True)
class Builder:
    """One job in the making."""

    recipe: Recipe
    world: World
    family: Family
    stage: Stage
    point: Point
    parent: JobSpec | None = None
    checkpoint: int | None = None
    """The iteration of the checkpoint it appears for."""
    batch: tuple[int, ...] = ()
    """The iterations of the batch that the checkpoint stands in; each is built by itself."""
    elsewhere: frozenset[str] = frozenset()
    """Names that other stages define."""
    read: dict[str, str] = field(default_factory=dict)
    """The environment variables the recipe read so far."""
    edges: dict[str, str] = field(default_factory=dict)
    """The jobs it refers to, each with its stage."""
    id: str = field(init=False)
    iteration: int | None = field(init=False)
    values: dict[str, JSON] = field(init=False)
    scope: JobScope = field(init=False)
    blame: Blame = field(init=False)
    evaluation: Evaluation = field(init=False)

    def __post_init__(self) -> None:
        own = job_id(self.stage.name, self.point.axes, self.parent.id if self.parent else None)
        self.id = own if self.checkpoint is None else f"{own}@{(self.batch or (self.checkpoint,))[-1]:07d}"
        self.iteration = self.parent.iteration if self.parent and self.checkpoint is None else self.checkpoint
        self.values = {**(self.parent.values if self.parent else {}), **self.point.axes}
        self.blame = Blame(self.recipe.places, self.stage.path, f"the job {self.id}")
        self.scope = JobScope(
            levels=(self._own_names(), self.stage.raw.get("params") or {}, self.recipe.params),
            built_in=self._built_in(),
            variables=self.world.variables,
            read=self.read,
            sibling=self._sibling,
        )
        self.evaluation = Evaluation(self.scope, self.blame)

    def build(self) -> JobSpec:
        """Evaluate the stage for this job.

        Raises:
            RecipeError: something has no value, or a wrong one; it names file, line, key and job.
        """
        self._check_id()
        resources = self._resources()
        args = self._mapping("args")
        retry = self._policy("retry", policies.read_retry) or RetryPolicy()
        if self.world.machine.executor == "local":  # nobody queues there but we ourselves
            retry = replace(retry, queue_ahead=False)
        spec = JobSpec(
            id=self.id,
            study=self.recipe.study,
            stage=self.stage.name,
            values=self.values,
            point=self._own_names(),
            parent=self.parent.id if self.parent else None,
            iteration=self.iteration,
            backend=str(self.stage.raw.get("backend") or "command"),
            args=args,
            argv=self._argv(args, resources),
            output=self._output(),
            prepare=tuple(self._prepare()),
            gate=self._gate(resources),
            env=dict(self._exported()),
            resources=resources,
            retry=retry,
            no_progress_s=self._policy("stall", policies.read_stall),
            events=self._events(),
            priority=self._priority(),
            requires=tuple(self._requires()),
            key=self.world.key,
            cancel=self._end("cancel"),
            finish=self._end("finish"),
            start=self._start(),  # after all that may refer to siblings
            needs=self._needs(),
            params=self.params(),
        )
        self._check_changes(spec)
        return spec

    def _check_changes(self, spec: JobSpec) -> None:
        """Refuse to reduce what is no number of the job's, or to restart it with what it does not have."""
        for rule in spec.events:
            for name in (name for deed in rule.do for name in deed.values if name not in spec.params):
                path = (*self.stage.path, "events", rule.name, "do")
                fix = f"name one of the job's params: {', '.join(spec.params) or 'it has none'}"
                raise self.recipe.places.error(path, f"there is no param {name}", why=f"{spec.id} reads it", fix=fix)
        for ending, answer in spec.retry.when.items():
            for name in answer.reduce:
                if name not in _numbers(spec.params):
                    path = (*self.stage.path, "retry", "when", ending, "reduce", name)
                    what = f"{name} is no number to be reduced" if name in spec.params else f"there is no param {name}"
                    fix = f"name one of the job's params: {', '.join(_numbers(spec.params)) or 'it has no numbers'}"
                    raise self.recipe.places.error(path, what, why=f"the job {spec.id} reads it", fix=fix)

    def params(self) -> dict[str, JSON]:
        """Evaluate every name its recipe gives it; what is of use only elsewhere stays out."""
        edges = dict(self.edges)
        found: dict[str, JSON] = {}
        for name in self.scope.names():
            if name in self.scope.built_in:
                continue
            with self.blame.at(("params", name), self.scope):
                try:
                    found[name] = self.scope.lookup(name)
                except NoSibling:
                    continue
                except UndefinedName as error:
                    if error.name not in self.elsewhere:
                        raise
                    if error.name in OF_A_CHECKPOINT:
                        found[name] = self.scope.raw(name)
        self.edges = edges
        return found

    def preview(self) -> JobSpec:
        """Build what is known before a checkpoint is there: its axes, its params, and whom it needs."""
        return JobSpec(
            id=self.id,
            study=self.recipe.study,
            stage=self.stage.name,
            values=self.values,
            point=self._own_names(),
            params=self.params(),
            parent=self.parent.id if self.parent else None,
            needs=self._needs(),
        )

    def _needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*([self.parent.id] if self.parent else ()), *self.edges)))

    def _check_id(self) -> None:
        if len(self.id) > LONGEST_ID:
            raise self.recipe.places.error(
                self.stage.path,
                f"the id {self.id[:LONGEST_ID]}... is too long",
                why=f"it names files, and {len(self.id)} characters are more than {LONGEST_ID}",
                fix="shorten the stage's or the axes' names, or use named entries",
            )

    def _own_names(self) -> dict[str, Any]:
        return {**(self.parent.point if self.parent else {}), **self.point.scope()}

    def _built_in(self) -> dict[str, JSON]:
        home = home_of(job_dir(self.world.root, self.recipe.study, self.id), self.iteration if self.batch else None)
        named: dict[str, JSON] = {
            **({} if self.iteration is None else {"iteration": self.iteration}),
            "study": self.recipe.study,
            "stage": self.stage.name,
            "job": self.id,
            "dir": home,
            "checkpoints": f"{home}/checkpoints",
            "output": f"{home}/{self._output()}".rstrip("/"),
            "machine": self.world.machine.name,
        }
        if self.parent is None or self.checkpoint is None:
            return named
        checkpoints = f"{job_dir(self.world.root, self.recipe.study, self.parent.id)}/checkpoints"
        return {**named, "checkpoint": f"{checkpoints}/{checkpoint_name(self.checkpoint)}"}

    def _output(self) -> str:
        if self.stage.program == "backend":
            return "checkpoints"
        return self._hook("hook", self.stage.raw["hook"]).output if self.stage.program == "hook" else ""

    def _hook(self, key: str, name: Any) -> HookInfo:
        with self.blame.at((*self.stage.path, key)):
            return self.world.hooks(str(name))

    def _check_taken(self, hook: HookInfo, path: KeyPath, values: Iterable[str]) -> None:
        """Refuse what a hook does not take, where it says what it does."""
        for name in values if hook.takes else ():
            if name.replace("_", "-") not in hook.takes:
                raise self.recipe.places.unknown((*path, name), hook.takes)

    def _sibling(self, stage: str) -> Mapping[str, Any]:
        job = self.family.sibling(stage, self)
        if self.parent is None or job.stage != self.parent.stage:
            self.edges.setdefault(job.id, job.stage)
        return result_of(job, self.world.root)

    def _exported(self) -> Iterator[tuple[str, str]]:
        for name, raw in self._given("env"):
            path = (*self.stage.path, "env", name)
            if (value := self.evaluation.value(path, raw)) is not None:
                with self.blame.at(path, self.scope):
                    yield name, word(value)

    def _given(self, key: str) -> Iterator[tuple[str, Any]]:
        yield from (self.stage.raw.get(key) or {}).items()

    def _mapping(self, key: str) -> dict[str, Any]:
        path = (*self.stage.path, key)
        return {
            name: raw if is_constant(raw) else self.evaluation.value((*path, name), raw)
            for name, raw in self._given(key)
        }

    def _policy(self, key: str, read: Callable[[Mapping[str, Any]], Any]) -> Any:
        if key in self.stage.settled:
            return self.stage.settled[key]
        values = self._mapping(key)
        with self.blame.at((*self.stage.path, key), self.scope):
            found = read(values) if values else None
        if all(is_constant(raw) for _, raw in self._given(key)):
            self.stage.settled[key] = found
        return found

    def _resources(self) -> Resources:
        resources: Resources = self._policy("resources", policies.read_resources) or Resources()
        if self.recipe.gpu_hours is not None and gpus_of(resources) and resources.walltime_s is None:
            what = f"the job {self.id} may use GPUs for ever"
            why, fix = "the study has a budget of GPU hours", "give its resources a walltime, such as 6h"
            raise self.recipe.places.error((*self.stage.path, "resources"), what, why=why, fix=fix)
        return resources

    def _events(self) -> tuple[Rule, ...]:
        path = (*self.stage.path, "events")
        values = self._mapping("events")
        notify = self._mapping("notify") or None
        if notify:
            self._check_taken(self._hook("notify", "notify"), (*self.stage.path, "notify"), notify)
        with self.blame.at(path, self.scope):
            rules = rulebook.read_rules(
                values, lambda name: self._hook("events", name).path, self.recipe.stages, notify
            )
        return tuple(replace(rule, when=self._resolved(path, rule.when)) if rule.when else rule for rule in rules)

    def _requires(self) -> Iterator[str]:
        raw = self.stage.raw.get("requires") or ()
        yield from self.evaluation.words((*self.stage.path, "requires"), [raw] if isinstance(raw, str) else raw)

    def _priority(self) -> int:
        path = (*self.stage.path, "priority")
        value = self.evaluation.value(path, self.stage.raw.get("priority", 0))
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        fix = "write a whole number; the highest is submitted first"
        raise self.recipe.places.error(path, f"{value!r} is no priority", why=f"the job {self.id} gets it", fix=fix)

    def _argv(self, args: Mapping[str, Any], resources: Resources) -> tuple[str, ...]:
        if self.stage.program == "backend":
            return self._backend_argv(args, resources)
        if self.stage.program == "hook":
            return self._hook_argv()
        container = self._container()
        inside = container.words(resources, self.world.root) if container else ()
        command, path = self.stage.raw["command"], (*self.stage.path, "command")
        if isinstance(command, list | tuple):
            return (*inside, *self.evaluation.words(path, command))
        return (*inside, *STRICT_BASH, self.evaluation.script(path, str(command)))

    def _container(self) -> Container | None:
        path = (*self.stage.path, "container")
        raw = self.evaluation.value(path, self.stage.raw.get("container"))
        with self.blame.at(path, self.scope):
            return None if raw is None else containers.read(raw, self.world.machine.container)

    def _backend_argv(self, args: Mapping[str, Any], resources: Resources) -> tuple[str, ...]:
        with self.blame.at((*self.stage.path, "backend"), self.scope):
            name = str(self.stage.raw["backend"])
            usual = self.world.machine.programs.get(name)
            container = self._container()
            launch = Launch(
                python=container.python if container else self.world.machine.python,
                inside=container.words(resources, self.world.root) if container else (),
                nodes=resources.nodes,
                launcher=self.world.machine.launcher,
                processes=resources.processes_per_node,
                program=self.scope.lookup("program") if self.scope.knows("program") else usual,
                checkpoints=str(self.scope.built_in["checkpoints"]),
            )
            return backends.find(name).argv(args, launch)

    def _hook_argv(self) -> tuple[str, ...]:
        hook = self._hook("hook", self.stage.raw["hook"])
        values = self._mapping("with")
        self._check_taken(hook, (*self.stage.path, "with"), values.keys() - OF_A_HOOK)
        if hook.takes:
            values = {name.replace("_", "-"): value for name, value in values.items()}
        given = {name: self.scope.built_in.get(name) for name in OF_A_HOOK}
        return (self.world.machine.python, hook.path, *backends.flags({**given, **values}))

    def _gate(self, resources: Resources) -> tuple[str, ...]:
        gate = self.stage.raw.get("gate")
        if gate is None:
            return ()
        ((name, values),) = gate.items() if isinstance(gate, Mapping) else ((gate, {}),)
        path = (*self.stage.path, "gate", name)
        hook = self._hook("gate", name)
        self._check_taken(hook, path, values or ())
        told = self._told_of_gate(hook.planned, resources) | self.evaluation.value(path, values or {})
        if "threshold" in told and told["threshold"] is None:
            raise self.recipe.places.error(
                path,
                f"nobody says how fast {told.get('ranks')} ranks on {told.get('hosts')} hosts must be",
                why=f"the network: of machine {self.world.machine.name} does not tell",
                fix="complete the machine file, give the gate a threshold: in GB/s, or remove the gate",
            )
        return (self.world.machine.python, hook.path, *backends.flags(told))

    def _told_of_gate(self, names: Sequence[str], resources: Resources) -> dict[str, Any]:
        """Return what a gate wants to know: its ranks are the job's GPUs, or its processes where it has none."""
        ranks = resources.nodes * (resources.gpus_per_node or resources.processes_per_node)
        threshold = fabrics.threshold_gbps(self.world.machine.network, ranks, resources.nodes)
        known = {"ranks": ranks, "hosts": resources.nodes, "threshold": threshold}
        return {name: known[name] for name in names if name in known}

    def _prepare(self) -> Iterator[HookCall]:
        for name, values in self._mapping("prepare").items():
            hook = self._hook("prepare", name)
            self._check_taken(hook, (*self.stage.path, "prepare", name), values or ())
            yield HookCall(name=name, path=hook.path, values=values or {})

    def _start(self) -> Condition:
        """Combine what the recipe waits for with what its references to other jobs imply."""
        parts = [self._resolved(path, condition) for path, condition in self._written()]
        named = {stage for part in parts for stage in _stages_of(part)}
        parts += [_success_of(job, stage) for job, stage in self.edges.items() if stage not in named]
        if self.parent is not None and self.checkpoint is None and self.parent.stage not in named:
            parts.append(_success_of(self.parent.id, self.parent.stage))
        for part in parts:
            self.edges.update(dict.fromkeys(_jobs_of(part), ""))
        return parts[0] if len(parts) == 1 else Condition(name="all", parts=tuple(parts))

    def _written(self) -> Iterator[tuple[KeyPath, Condition]]:
        path = (*self.stage.path, "start")
        if raw := self.evaluation.conditions(path, self.stage.raw.get("start") or {}):
            with self.blame.at(path, self.scope):
                yield path, read_condition(raw)
        events = {stage.name: stage.raw.get("events") or {} for stage in self.recipe.stages.values()}
        asked = [
            Condition(name="happened", params={"stage": stage, "event": event})
            for stage, event in rulebook.submitters(self.stage.name, events)
        ]
        if asked:
            yield path, asked[0] if len(asked) == 1 else Condition(name="any", parts=tuple(asked))
        needs = self.stage.raw.get("needs") or ()
        for stage in [needs] if isinstance(needs, str) else needs:
            yield (*self.stage.path, "needs"), Condition(name="job_succeeded", params={"stage": stage})

    def _end(self, key: str) -> Condition | None:
        """Read when a job is to end, whatever its program does; that is no reason to wait for whoever it names."""
        if not self.stage.raw.get(key):
            return None
        path = (*self.stage.path, key)
        edges = dict(self.edges)
        raw = self.evaluation.conditions(path, self.stage.raw[key])
        with self.blame.at(path, self.scope):
            found = self._resolved(path, read_condition(raw))
        self.edges = edges
        return found

    def _resolved(self, path: KeyPath, condition: Condition) -> Condition:
        """Replace a condition's `stage` by the jobs it stands for."""
        parts = tuple(self._resolved(path, part) for part in condition.parts)
        if "stage" not in condition.params:
            return replace(condition, parts=parts) if parts else condition
        with self.blame.at(path, self.scope):
            jobs, templates = self.family.members(stage := str(condition.params["stage"]), self)
        event = condition.params.get("event")
        if event is not None and event not in (events := self.recipe.stages[stage].raw.get("events") or {}):
            what, fix = f"{stage} has no event {event!r}", f"its events are {', '.join(events) or 'none'}"
            raise self.recipe.places.error(path, what, why=f"the job {self.id} waits for it", fix=fix)
        return replace(condition, parts=parts, jobs=jobs, templates=templates)


def _numbers(params: Mapping[str, JSON]) -> list[str]:
    return [name for name, value in params.items() if isinstance(value, int | float) and not isinstance(value, bool)]


def _success_of(job: str, stage: str) -> Condition:
    return Condition(name="job_succeeded", params={"stage": stage}, jobs=(job,))


def _stages_of(condition: Condition) -> Iterator[str]:
    if "stage" in condition.params:
        yield str(condition.params["stage"])
    for part in condition.parts:
        yield from _stages_of(part)


def _jobs_of(condition: Condition) -> Iterator[str]:
    yield from condition.jobs
    for part in condition.parts:
        yield from _jobs_of(part)
