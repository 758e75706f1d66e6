"""Drop a marker for a job, or for every job of a study; the watcher obeys it within its reaction time.

This does what `touch jobs/<job>/markers/<verb>` does.

  autoexp mark demo/pretrain-model10M-lr0.001 hold --reason "the node looks odd"
  autoexp mark experiments/demo cancel
  autoexp mark demo retry --where 'state == "failed" and lr < 1e-3'
"""

import argparse
from difflib import get_close_matches
from pathlib import Path

from autoexp import lease, markers, targets
from autoexp.errors import AutoexpError
from autoexp.model import Verb
from autoexp.targets import Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp mark`."""
    parser.add_argument("target", metavar="JOB|STUDY", help="<study>[/<job>], or a directory")
    parser.add_argument("verb", metavar="VERB", help=", ".join(Verb))
    parser.add_argument("--root", metavar="DIR", help="the experiments folder")
    parser.add_argument("--where", metavar="EXPR", help="of a study, those jobs: 'lr < 1e-3 and state == \"failed\"'")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the journal")


def run(arguments: argparse.Namespace) -> int:
    """Drop the marker."""
    target = targets.find(arguments.target, arguments.root, study=True)
    if arguments.verb not in set(Verb):
        near = get_close_matches(arguments.verb, Verb, n=1)
        fix = f"did you mean {near[0]}?" if near else "use one of those"
        raise AutoexpError(f"{arguments.verb!r} is no verb", why=f"there are {', '.join(Verb)}", fix=fix)
    for folder in _chosen(target, arguments.where) if arguments.where else [target.dir]:
        try:
            path = markers.drop(folder / "markers", Verb(arguments.verb), arguments.reason)
        except OSError as error:
            raise AutoexpError("the marker cannot be dropped", why=str(error), fix="see to the permissions") from error
        print(f"dropped {path}")
    if lease.holder(target.root) is None:
        print(f"no watcher runs; the next one obeys it: autoexp watch {target.root}")
    return 0


def _chosen(target: Target, where: str) -> list[Path]:
    """List the directories of the jobs that are chosen, of a study or of one job.

    Raises:
        AutoexpError: there is none.
    """
    from autoexp import selection  # noqa: PLC0415 - most markers are for one job, and dropped at once
    from autoexp.view import view  # noqa: PLC0415 - as above

    ledger = view(target.root).registry.ledgers[target.study]
    jobs, chosen = [job for job in ledger.jobs.values() if target.job in ("", job.id)], selection.read(where)
    chosen.check(jobs)
    found = [ledger.dir_of(job.id) for job in jobs if chosen.chooses(job)]
    if not found:
        why = f"none of {len(jobs)} jobs is like that"
        raise AutoexpError(f"{where!r} chooses no jobs", why=why, fix=f"look: autoexp status {target.root}")
    return found
