"""What the rows of `lifecycle.TABLE` do besides moving: changes to the job's fields, and actions for the shell.

Each effect is a generator over a job and an event; it yields actions, and mappings of `Job` fields to set.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.actions import Action, AppearJob, DropAhead, QueueAhead, StopJob, WithdrawJob
from autoexp.actions import SubmitJob as Submit
from autoexp.budget import gpus_of
from autoexp.events import Ended, Event, Requested
from autoexp.model import Answer, EndingClass, Job, Remedy, RetryPolicy, Verb

Effect = Action | Mapping[str, Any]

TRY_AGAIN = frozenset({Remedy.RESUME, Remedy.RETRY, Remedy.EXCLUDE_NODE})
DEFAULT_REMEDIES: Mapping[EndingClass, Remedy] = {
    EndingClass.SUCCESS: Remedy.FAIL,  # never asked: success has its own rows
    EndingClass.TIME_LIMIT: Remedy.RESUME,
    EndingClass.PREEMPTED: Remedy.RESUME,
    EndingClass.NODE_FAIL: Remedy.RETRY,
    EndingClass.HOST_OOM: Remedy.FAIL,
    EndingClass.GPU_OOM: Remedy.FAIL,
    EndingClass.NETWORK: Remedy.RETRY,
    EndingClass.CANCELLED: Remedy.CANCEL,
    EndingClass.LAUNCH: Remedy.FAIL,
    EndingClass.CONFIG: Remedy.FAIL,
    EndingClass.DIVERGED: Remedy.FAIL,
    EndingClass.HUNG: Remedy.RETRY,
    EndingClass.CRASHED: Remedy.RETRY,
    EndingClass.UNKNOWN: Remedy.RETRY,
}
CUT_SHORT = frozenset({EndingClass.TIME_LIMIT, EndingClass.PREEMPTED, EndingClass.NODE_FAIL})
"""After which endings an attempt that was queued ahead begins; run.sh knows them by the exit file, or asks Slurm."""
LONGEST_BACKOFF_S = 600.0
FIRST_REFUSAL_BACKOFF_S = 2.0


def ending_of(job: Job, event: Ended) -> EndingClass:
    """Classify an ending: what we stopped because it stalled was hung, whatever its exit code says.

    So is a run that went astray a mistake in how it was set up, even where it trained to its end.
    """
    if job.astray:
        return EndingClass.CONFIG
    return EndingClass.HUNG if job.hung and event.ending is not EndingClass.SUCCESS else event.ending


def answer(job: Job, event: Ended) -> Answer:
    """Ask the job's retry policy what to do about this ending."""
    return _planned(job.spec.retry, ending_of(job, event))


def _planned(policy: RetryPolicy, ending: EndingClass) -> Answer:
    return policy.when.get(ending) or Answer(remedy=DEFAULT_REMEDIES[ending])


def remedy(job: Job, event: Ended) -> Remedy:
    """Name the remedy for this ending."""
    return answer(job, event).remedy


def failures_after(job: Job, event: Ended) -> int:
    """Count the attempts used up by endings of this class once the present one has failed."""
    return job.failures.get(ending_of(job, event), 0) + spent_after(job) - job.spent


def reduced_after(job: Job, event: Ended) -> dict[str, Any]:
    """Name the params that an ending changes, with the values that the next attempt gets: whole numbers stay whole."""
    changed = {}
    for name, factor in answer(job, event).reduce.items():
        before: Any = job.reduced.get(name, job.spec.params.get(name))
        after = max(int(before * factor), 1) if isinstance(before, int) else before * factor
        if after != before:
            changed[name] = after
    return changed


def was_taken_back(job: Job, event: Ended) -> bool:
    """Say whether the attempt ended because we took its submission back: before it began, or just after."""
    return job.withdrawn and (job.unused or event.ending is EndingClass.CANCELLED)


MOST_FALSE_STARTS = 5
"""How often in a row an attempt that never began is submitted again."""


def never_began(job: Job, event: Ended) -> bool:
    """Say whether the attempt is gone and nobody knows why, nor ran anything: it is submitted once more then."""
    unknown = event.code is None and event.ending is EndingClass.UNKNOWN
    return unknown and job.unused and job.refusals < MOST_FALSE_STARTS


def spent_after(job: Job) -> int:
    """Count the attempts used up once the present one has failed; a new checkpoint refunds it."""
    return job.spent if job.iteration > job.began_at else job.spent + 1


def doubled(first_s: float, times: int) -> float:
    """Double a wait this often, up to the longest one; a recipe may begin with a longer one still."""
    enough = 60  # doublings, however often it was refused: a float holds no 2 ** 1024
    return min(first_s * 2.0 ** min(times, enough), max(first_s, LONGEST_BACKOFF_S))


def next_attempt(job: Job) -> int:
    """Number the attempt that comes next: the newest one again, if it was refused before it ran."""
    return job.attempt if job.unused else max(job.attempt, job.dropped) + 1


def open_attempt(job: Job, _: Event) -> Iterator[Effect]:
    """Begin the next attempt, or the same one again if it was refused before it ran."""
    number = next_attempt(job)
    yield {**_opened(job, number), "began_at": job.iteration}
    yield Submit(job=job.id, attempt=number)


def _opened(job: Job, number: int) -> dict[str, Any]:
    return {
        "attempt": number,
        "token": f"{job.id}.{number}.{job.spec.key}",
        "scheduler_id": None,
        "unused": True,
        "withdrawn": False,
        "pending": None,
        "hung": False,
        "astray": "",
        "ending": None,
        "wake_at": None,
        "ahead": 0,
    }


KEPT = ("spent", "failures", "reduced", "matched", "afresh", "began_at", "gpu_seconds")
"""What an attempt's intent says of its job, so that whoever finds it need not know what came before."""


def take_up(job: Job, event: Any) -> Iterator[Effect]:
    """Go on with an attempt that the journal has lost, as if it had been opened just now."""
    kept = {name: value for name, value in event.kept.items() if name in KEPT}
    yield {**_opened(job, event.number), "ahead": event.ahead, **kept}
    yield from use_up(job, event)


def submit_found(job: Job, event: Any) -> Iterator[Effect]:
    """Submit it, or find out what became of that."""
    yield Submit(job=job.id, attempt=event.number)


def use_up(job: Job, event: Any) -> Iterator[Effect]:
    """Never use the number again of what was taken back."""
    if event.dropped > job.dropped:
        yield {"dropped": event.dropped}
    if event.taken_back and not job.withdrawn:
        yield {"unused": False}


def record_id(_: Job, event: Any) -> Iterator[Effect]:
    """Keep the scheduler's id."""
    yield {"scheduler_id": event.scheduler_id, "wake_at": None}


def record_start(job: Job, event: Any) -> Iterator[Effect]:
    """The attempt is real now; the id in its claim is the one that counts."""
    yield {"scheduler_id": event.scheduler_id or job.scheduler_id, "unused": False, "refusals": 0, "wake_at": None}
    if gpus_of(job.spec.resources):
        yield {"started_at": event.at}


def queue_ahead(job: Job, _: Event) -> Iterator[Effect]:
    """Queue the next attempt behind this one, where the recipe wants that."""
    policy = job.spec.retry
    goes_on = all(_begins_behind(job, ending) for ending in CUT_SHORT)  # run.sh knows no other answer
    may_follow = goes_on and job.spent + 1 < policy.max_attempts  # should this one save nothing
    if policy.queue_ahead and not job.retired and may_follow and job.pending is None:
        yield {"ahead": job.attempt + 1}
        yield QueueAhead(job=job.id, attempt=job.attempt)


def _begins_behind(job: Job, ending: EndingClass) -> bool:
    """Say whether the recipe wants an attempt like the present one after such an ending."""
    said = _planned(job.spec.retry, ending)
    may = said.attempts is None or job.failures.get(ending, 0) < said.attempts
    return said.remedy in TRY_AGAIN and not said.reduce and may


def drop_ahead(job: Job, _: Event) -> Iterator[Effect]:
    """Take back what waits for this attempt to end: it is not to go on, or not like this."""
    if job.ahead:
        yield {"ahead": 0, "dropped": job.ahead}
        yield DropAhead(job=job.id, attempt=job.attempt, ahead=job.ahead)


def record_checkpoint(job: Job, event: Any) -> Iterator[Effect]:
    """Remember a whole checkpoint, once."""
    if event.iteration not in job.checkpoints:
        yield {"checkpoints": (*job.checkpoints, event.iteration)}


def record_ending(job: Job, event: Ended) -> Iterator[Effect]:
    """Close the attempt and count it, unless it did its work or was taken back."""
    excused = event.ending is EndingClass.SUCCESS or job.pending is not None or was_taken_back(job, event)
    spent = job.spent if excused else spent_after(job)
    yield {"ending": ending_of(job, event), "spent": spent, "unused": False, "hung": False, "astray": ""}
    if job.started_at:
        lasted_s = max(event.at - job.started_at, 0.0) if event.lasted_s is None else event.lasted_s
        yield {"started_at": 0.0, "gpu_seconds": round(job.gpu_seconds + gpus_of(job.spec.resources) * lasted_s, 3)}
    if not excused and answer(job, event).attempts is not None:
        yield {"failures": {**job.failures, ending_of(job, event): failures_after(job, event)}}
    if job.astray:
        yield {"reason": f"{job.astray}; it was stopped"}
    elif job.hung and event.ending is not EndingClass.SUCCESS:
        yield {"reason": f"it got no further, and was stopped: {event.reason}"}


AVOIDED_S = 86400.0
"""How long a node is avoided that an ending was blamed on."""
MOST_AT_ONCE = 4
"""Where more nodes than these are blamed at once, the blame is to be doubted."""


def avoid_suspects(job: Job, event: Ended) -> Iterator[Effect]:
    """Keep away from nodes that the gate found slow, or that the recipe wants to leave after such an ending."""
    blamed = remedy(job, event) is Remedy.EXCLUDE_NODE or event.ending is EndingClass.NETWORK
    if blamed and 0 < len(event.suspects) <= MOST_AT_ONCE:
        known = {node: until for node, until in job.avoided.items() if until > event.at}
        yield {"avoided": {**known, **dict.fromkeys(event.suspects, event.at + AVOIDED_S)}}


def settle(job: Job, event: Event) -> Iterator[Effect]:
    """What was asked is done, and is the reason for the job's state."""
    if job.pending is not None:
        said = event.evidence().get("reason")
        why = job.reason if job.reason.startswith(f"{job.pending}: ") else f"{job.pending} was asked"
        yield {"pending": None, "reason": f"{why}{f'; {said}' if said else ''}"}


def drop_wish(job: Job, _: Event) -> Iterator[Effect]:
    """Forget what was asked: it came too late to matter."""
    if job.pending is not None:
        yield {"pending": None}


def take_back_hold(job: Job, _: Event) -> Iterator[Effect]:
    """Forget a pending hold; any other wish stays."""
    if job.pending is Verb.HOLD:
        yield {"pending": None}


def pend(_: Job, event: Requested) -> Iterator[Effect]:
    """Remember what was asked, and why, until the attempt has ended."""
    yield {"pending": event.verb, **({"reason": f"{event.verb}: {event.reason}"} if event.reason else {})}


def back_off(job: Job, event: Ended) -> Iterator[Effect]:
    """Wait twice as long after each attempt that counts; one that was queued ahead goes on at once if it still fits.

    It has begun already, as a rule: not even a node to be avoided is worth ending it, for Slurm avoids what is down.
    """
    said = answer(job, event)
    if job.ahead and event.ending in CUT_SHORT and said.remedy in TRY_AGAIN and not said.reduce:
        yield {"wake_at": event.at}
        return
    yield from drop_ahead(job, event)
    counted = spent_after(job) if said.attempts is None else failures_after(job, event)
    first_s = job.spec.retry.backoff_s if said.backoff_s is None else said.backoff_s
    yield {"wake_at": event.at + doubled(first_s, max(counted - 1, 0))}


def reduce(job: Job, event: Ended) -> Iterator[Effect]:
    """Give the next attempts what such an ending asks for: a smaller batch after one for want of memory, say."""
    if changed := reduced_after(job, event):
        said = ", ".join(f"{name} is {value} from now on" for name, value in changed.items())
        yield {"reduced": {**job.reduced, **changed}, "reason": f"{event.reason}; {said}"}


def say_why_not_again(job: Job, event: Ended) -> Iterator[Effect]:
    """Tell why another attempt would be of no use, where the recipe asked for one."""
    said = answer(job, event)
    if said.attempts is not None and failures_after(job, event) > said.attempts:
        yield {"reason": f"{event.reason}; {said.attempts} more attempts were made after such endings"}
    elif said.reduce and not reduced_after(job, event):
        yield {"reason": f"{event.reason}; {', '.join(said.reduce)} cannot be reduced any further"}
    elif job.retired and said.remedy in TRY_AGAIN and spent_after(job) < job.spec.retry.max_attempts:
        yield {"reason": f"{event.reason}; not tried again, for the recipe had dropped it then"}


def try_again_later(job: Job, event: Event) -> Iterator[Effect]:
    """Wait twice as long after each refusal, lost answer or false start in a row; none uses up an attempt."""
    yield {"wake_at": event.at + doubled(FIRST_REFUSAL_BACKOFF_S, job.refusals), "refusals": job.refusals + 1}


def say_why(_: Job, event: Any) -> Iterator[Effect]:
    """Tell people what keeps it in its state."""
    yield {"reason": event.reason}


def withdraw(job: Job, _: Event) -> Iterator[Effect]:
    """Take the submission back."""
    yield {"withdrawn": True}
    yield WithdrawJob(job=job.id, attempt=job.attempt)


def stop(job: Job, _: Event) -> Iterator[Effect]:
    """End the attempt."""
    yield StopJob(job=job.id, attempt=job.attempt)


def save_and_stop(job: Job, _: Event) -> Iterator[Effect]:
    """End the attempt once it has saved."""
    yield StopJob(job=job.id, attempt=job.attempt, save=True)


def note_hung(_: Job, __: Event) -> Iterator[Effect]:
    """Remember why the attempt was stopped."""
    yield {"hung": True}


def note_astray(_: Job, event: Any) -> Iterator[Effect]:
    """Remember why the attempt was stopped."""
    yield {"astray": event.reason}


def retire(_: Job, __: Event) -> Iterator[Effect]:
    """The recipe dropped it."""
    yield {"retired": True}


def unretire(_: Job, __: Event) -> Iterator[Effect]:
    """The recipe has it again."""
    yield {"retired": False}


def refresh(_: Job, __: Event) -> Iterator[Effect]:
    """Give it a new attempt budget."""
    yield {"spent": 0, "failures": {}, "reduced": {}, "refusals": 0, "pending": None, "ending": None}


def start_over(job: Job, _: Event) -> Iterator[Effect]:
    """What a batch has done so far is done again by the next attempt."""
    if job.spec.iterations:
        yield {"afresh": next_attempt(job)}


def appear_for_job(job: Job, _: Event) -> Iterator[Effect]:
    """Bring about the jobs that stand for this one."""
    yield from children_of(job, None)


def appear_for_checkpoint(job: Job, event: Any) -> Iterator[Effect]:
    """Bring about the jobs that stand for this checkpoint, unless it is old news."""
    if event.iteration not in job.checkpoints:
        yield from children_of(job, event.iteration)


def appear_for_batch(job: Job, event: Any) -> Iterator[Effect]:
    """Bring about the job that stands for these checkpoints, and remember which they are."""
    yield {"batches": {**job.batches, event.template: (*job.batches.get(event.template, ()), event.iterations)}}
    yield from batches_of(job, {event.template: (event.iterations,)})


def children_of(job: Job, iteration: int | None) -> Iterator[AppearJob]:
    """List what stands for just a checkpoint of this iteration, or (None) for the job itself."""
    for template in job.templates_for(iteration):
        name = template.child(job.id, iteration)
        yield AppearJob(job=name, template=template.id, parent=job.id, iteration=iteration)


def batches_of(job: Job, batches: Mapping[str, tuple[tuple[int, ...], ...]]) -> Iterator[AppearJob]:
    """List what stands for batches of its checkpoints, each under the name of its last one."""
    for template in job.spec.children:
        for batch in batches.get(template.id, ()):
            last = batch[-1]
            yield AppearJob(
                job=template.child(job.id, last), template=template.id, parent=job.id, iteration=last, iterations=batch
            )
