"""Drop a marker for a job, or for every job of a study; the watcher obeys it within its reaction time.

This does what `touch jobs/<job>/markers/<verb>` does.

  autoexp mark demo/pretrain-model10M-lr0.001 hold --reason "the node looks odd"
  autoexp mark experiments/demo cancel
"""

import argparse
from difflib import get_close_matches

from autoexp import lease, markers, targets
from autoexp.errors import AutoexpError
from autoexp.model import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp mark`."""
    parser.add_argument("target", metavar="JOB|STUDY", help="<study>[/<job>], or a directory")
    parser.add_argument("verb", metavar="VERB", help=", ".join(Verb))
    parser.add_argument("--root", metavar="DIR", help="the experiments folder")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the journal")


def run(arguments: argparse.Namespace) -> int:
    """Drop the marker."""
    target = targets.find(arguments.target, arguments.root, study=True)
    if arguments.verb not in set(Verb):
        near = get_close_matches(arguments.verb, Verb, n=1)
        fix = f"did you mean {near[0]}?" if near else "use one of those"
        raise AutoexpError(f"{arguments.verb!r} is no verb", why=f"there are {', '.join(Verb)}", fix=fix)
    try:
        path = markers.drop(target.dir / "markers", Verb(arguments.verb), arguments.reason)
    except OSError as error:
        raise AutoexpError("the marker cannot be dropped", why=str(error), fix="see to the permissions") from error
    print(f"dropped {path}")
    if lease.holder(target.root) is None:
        print(f"no watcher runs; the next one obeys it: autoexp watch {target.root}")
    return 0
