"""Effects, imperative: what the core asks the shell to do. `executor.Executor.execute` carries them out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """Prepare, and give the job's current attempt to its executor."""

    job: str
    attempt: int

    def __str__(self) -> str:
        return f"submit {self.job} attempt {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawJob:
    """Take a submission back before it begins."""

    job: str
    attempt: int

    def __str__(self) -> str:
        return f"withdraw {self.job} attempt {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob:
    """End a running attempt: politely first; with `save` it is given the time to write a checkpoint."""

    job: str
    attempt: int
    save: bool = False

    def __str__(self) -> str:
        return f"{'save and stop' if self.save else 'stop'} {self.job} attempt {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAhead:
    """Submit the next attempt already: the scheduler is to start it once the current one has ended."""

    job: str
    attempt: int
    """The current one."""

    def __str__(self) -> str:
        return f"queue {self.job} attempt {self.attempt + 1} ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropAhead:
    """Take an attempt back that was queued ahead, whether it has begun or not."""

    job: str
    attempt: int
    """The current one."""
    ahead: int

    def __str__(self) -> str:
        return f"drop {self.job} attempt {self.ahead}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearJob:
    """Bring about the job of an each-template for `parent` at `iteration`."""

    job: str
    template: str
    parent: str
    iteration: int | None = None
    iterations: tuple[int, ...] = ()
    """Those of the batch it stands for, if it does."""

    def __str__(self) -> str:
        return f"appear {self.job}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """Do what the recipe wants done about something that happened to the job."""

    job: str
    event: str
    number: int
    """The how manieth time it happened."""

    def __str__(self) -> str:
        return f"answer {self.event} of {self.job}"


Action = SubmitJob | WithdrawJob | StopJob | QueueAhead | DropAhead | AppearJob | AnswerEvent
