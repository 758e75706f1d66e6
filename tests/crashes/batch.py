"""The study that is played on a real cluster of Slurm's: submitted, retried, taken back from the queue, and ended.

Every job needs the whole of one node, so that jobs come one after the other there. The clients of the scheduler are
waited for, as the simulated one is: so each run does the same things in the same order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from autoexp.clients import at_once
from autoexp.executors import slurm
from tests.crashes.effects import Effects
from tests.crashes.stage import MACHINE, Script, Step
from tests.slurm.cluster import Cluster, cluster

MESSAGE_TIMEOUT_S = 4
"""Short, because half of the runs wait it out; a busy computer needs some of it."""
RECIPE = """
study: demo
machine: bench
stages:
  tokenize:
    command: [bash, {home}/step.sh, fails-first]
    retry: {{max_attempts: 3, backoff: 0.01s}}
    resources: {{cpus: 4}}
  train:
    needs: tokenize
    command: [bash, {home}/step.sh, cut-first]
    retry: {{max_attempts: 3, backoff: 0.01s, queue_ahead: true}}
    resources: {{cpus: 4}}
  serve: {{needs: train, command: [bash, {home}/step.sh, for-ever], resources: {{cpus: 4}}}}
  publish:
    start: {{job_state: {{stage: serve, state: running}}}}
    command: [bash, {home}/step.sh]
    resources: {{cpus: 4}}
"""
PERSON = (
    Step(frozenset({"serve.started.1", "publish.submitted.1"}), "publish", "hold"),
    Step(frozenset({"publish.ended.1"}), "publish", "release"),
    Step(frozenset({"publish.submitted.2"}), "serve", "cancel", begun=True),
)


@contextmanager
def on_slurm() -> Iterator[Script]:
    """Have a cluster, and what is played on it."""
    with cluster(message_timeout_s=MESSAGE_TIMEOUT_S) as running:
        os.environ.update(running.env)
        yield Script(
            recipe=RECIPE,
            machine={**MACHINE, "executor": "slurm", "query_interval": "1s", "options": "{mem: 100M, nodelist: n1}"},
            person=PERSON,
            endless=("serve",),
            blocked=("publish",),
            queue=partial(_queue, running),
            tell=partial(_tell, running),
            clear=running.clear,
            begin=_begin,
        )


def _queue(running: Cluster) -> list[str]:
    return running.run("squeue", "--noheader", "--format=%j").split()


def _tell(running: Cluster) -> str:
    return running.run("squeue", "--format=%i %j %T %r") + running.run("sinfo", "--Node", "--format=%N %T %E")


def _begin(effects: Effects) -> None:
    setattr(slurm, "in_background", at_once)  # noqa: B010 - for mypy
    effects.listen_to_clients()
