"""Containers: what starts a stage's program inside of one. Pure.

Apptainer and Singularity (SingularityCE) take the same words. The environment goes in as it is, and so do the home
directory and the working directory where the site's configuration says so; the experiments root is always bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.model import Resources
from autoexp.policies import PolicyError

RUNTIMES = ("apptainer", "singularity")
LISTS = ("bind", "options")
USUAL_KEYS = ("runtime", "bind", "options", "python")
"""What a machine file may say of all containers."""
KEYS = ("image", *USUAL_KEYS)
_GPUS = ("--nv", "--nvccli", "--rocm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """An image, and how it is entered."""

    image: str
    """A file, a folder, or an address such as docker://..."""
    runtime: str = RUNTIMES[0]
    bind: tuple[str, ...] = ()
    """SOURCE or SOURCE:TARGET."""
    options: tuple[str, ...] = ()
    python: str = "python3"
    """The interpreter inside, for trainers."""

    def words(self, resources: Resources, root: str) -> tuple[str, ...]:
        """Write what comes before the program's own words."""
        unsaid = resources.gpus_per_node and not any(option in _GPUS for option in self.options)
        gpus = ("--nv",) if unsaid else ()
        binds = (f"--bind={bind}" for bind in (root, *self.bind))
        return (self.runtime, "exec", *gpus, *binds, *self.options, self.image)


def read(raw: object, usual: Mapping[str, Any]) -> Container:
    """Read a stage's container: an image, or a mapping; `usual` is what the machine file says of all of them.

    Raises:
        PolicyError: a key is unknown, or a value is not what it should be.
    """
    said: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {"image": raw}
    check(said, KEYS)
    if not isinstance(said.get("image"), str) or not said["image"]:
        raise PolicyError("image", f"{said.get('image')!r} is no image", "write container: PATH.sif, or {image: ...}")
    both = {**usual, **said}
    return Container(
        image=said["image"],
        runtime=both.get("runtime") or RUNTIMES[0],
        bind=(*usual.get("bind", ()), *said.get("bind", ())),
        options=(*usual.get("options", ()), *said.get("options", ())),
        python=both.get("python") or "python3",
    )


def check(said: Mapping[str, Any], known: tuple[str, ...] = USUAL_KEYS) -> None:
    """Check what is said of a container, or by a machine file of all of them.

    Raises:
        PolicyError: a key is unknown, or a value is not what it should be.
    """
    for key, value in said.items():
        if key not in known:
            raise PolicyError(str(key), f"unknown key {key!r}", f"use one of {', '.join(known)}")
        if key in LISTS and not _is_words(value):
            raise PolicyError(key, f"{value!r} is no {key}", f"write a list: {key}: [...]")
        if key == "runtime" and value not in RUNTIMES:
            raise PolicyError(key, f"{value!r} is no runtime", f"use one of {', '.join(RUNTIMES)}")
        if key == "python" and not isinstance(value, str):
            raise PolicyError(key, f"{value!r} is no interpreter", "write its name or path inside the container")


def _is_words(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) and word for word in value)
