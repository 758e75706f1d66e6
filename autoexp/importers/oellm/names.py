"""What OELLM's dotted paths are called in a recipe. Pure."""

import re
from dataclasses import dataclass, field

SHORT = (
    "backend.megatron.aux.",
    "backend.megatron.",
    "backend.titan.",
    "slurm.sbatch.",
    "aux.",
    "backend.",
    "slurm.",
    "job.",
    "project.",
)
RESERVED = frozenset(
    {
        "study",
        "stage",
        "job",
        "dir",
        "checkpoints",
        "output",
        "machine",
        "iteration",
        "checkpoint",
        "sibling",
        "program",
    }
)
BUILT_IN = {
    "stage": "${stage}", "job.name": "${job}", "project.name": "${job}", "slurm.name": "${job}",
    "job.base_output_dir": "${dir}", "project.base_output_dir": "${dir}", "output_dir": "${dir}",
    "job.output_dir": "${dir}", "job.log_path": "${dir}/current.log", "job.log_path_current": "${dir}/current.log",
    "project.log_path_current": "${dir}/current.log",
}  # fmt: skip
"""Paths that a recipe has a word of its own for."""
OF_SIBLING = {
    **dict.fromkeys(("name", "job.name", "project.name"), "job"),
    **dict.fromkeys(("output_dir", "base_output_dir", "job.base_output_dir", "project.base_output_dir"), "dir"),
    **dict.fromkeys(("log_path", "log_path_current", "job.log_path", "job.log_path_current"), "dir}/current.log"),
}
"""The same of `sibling.STAGE.`; the brace that ends the reference is added where it is missing."""


@dataclass(slots=True)
class Names:
    """Short names, each given to one path."""

    given: dict[str, str] = field(default_factory=dict)
    """By path."""

    def of(self, path: str) -> str:
        """Return a path's name: its last word, or more of it where that is taken."""
        if path not in self.given:
            self.given[path] = self._new(path)
        return self.given[path]

    def _new(self, path: str) -> str:
        short = next((path.removeprefix(start) for start in SHORT if path.startswith(start)), path)
        whole = path.split(".")
        taken = set(self.given.values()) | RESERVED
        for count in range(short.count(".") + 1, len(whole) + 1):
            name = re.sub(r"\W", "_", "_".join(whole[-count:]))
            if name not in taken:
                return name if not name[0].isdigit() else f"n{name}"
        return f"{'_'.join(whole)}_{len(taken)}"
