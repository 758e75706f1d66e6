"""What a file's `defaults` come to, by Hydra's own list of them. Needs hydra-core.

Hydra says which files there are, in which order, and where the values of each stand; here they are read, as carefully
as recipes are, and put together. Of Hydra no more is set up than that: no plug-ins, no search path, no logging, no
folders, and nothing that a configuration names is ever made or called.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import version
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

LANGUAGE = "1.3"
"""The version of Hydra that the trees are written for."""
SCHEMA = "defaults"
"""Files named after it hold what a program takes anyway: known, but nothing to ask for."""

UNCHOSEN = "???"
"""What is for somebody else to say."""
MOST = 5_000
"""How often files may be asked for; defaults that name each other multiply."""
_NOTHING = OmegaConf.create()
"""All that Hydra gets to see of a file's values."""

Read = Callable[[str], tuple[str, Mapping[str, Any]] | None]
"""Returns a file's text, and what it holds, by its name below the root; None where there is none."""


class Repository(ConfigRepository):
    """The files of one tree, each read when it is first asked for."""

    def __init__(self, read: Read) -> None:
        self.sources = []  # Hydra's own ways to files
        self.asked: list[str] = []
        self._read = read
        self._known: dict[str, ConfigResult | None] = {}
        self.values: dict[str, Mapping[str, Any]] = {}
        """What each file says besides."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a file as Hydra wants it, or None; whatever it names may be missing."""
        name = posixpath.normpath(config_path)
        self.asked.append(name)
        if len(self.asked) > MOST:
            raise ValueError(f"the defaults have no end: {MOST} files so far")
        if name not in self._known:
            found = self._read(name)
            self._known[name] = None if found is None else self._result(name, *found)
        return self._known[name]

    def _result(self, name: str, text: str, raw: Mapping[str, Any]) -> ConfigResult:
        entries = raw["defaults"] if raw.get("defaults") is not None else []
        said = self._extract_defaults_list(name, OmegaConf.create({"defaults": entries}))
        listed = self._create_defaults_list(name, said)
        for entry in listed:
            if isinstance(entry, ConfigDefault | GroupDefault):
                entry.optional = True
        self.values[name] = {key: value for key, value in raw.items() if key != "defaults"}
        header = ConfigSource._get_header_dict(text)  # noqa: SLF001 - what `# @package` says, as Hydra reads it
        return ConfigResult(provider="main", path=name, config=_NOTHING, header=header, defaults_list=listed)

    def config_exists(self, config_path: str) -> bool:
        """Say whether there is such a file."""
        return self.load_config(config_path) is not None


def listed(repository: Repository, name: str) -> DefaultsList:
    """Return Hydra's list of all that a file is made of."""
    with _language():
        return create_defaults_list(repository, name, [], prepend_hydra=False, skip_missing=True)


def merged(repository: Repository, found: DefaultsList) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put the values of a list's files over each other: of those named after `SCHEMA`, and of all others."""
    usual: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for each in found.defaults:
        name = posixpath.normpath(each.config_path or "")
        nested: Any = repository.values.get(name, {})
        for part in reversed(each.package.split(".") if each.package else ()):
            nested = {part: nested}
        _put(nested, usual if SCHEMA in posixpath.basename(name) else config)
    return usual, config


def _put(over: Mapping[str, Any], base: dict[str, Any]) -> None:
    """Put values over others as OmegaConf does, which takes seconds for these; what is `???` waits for another's."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = base.get(key)
            base[key] = dict(below) if isinstance(below, Mapping) else {}
            _put(value, base[key])
        elif value != UNCHOSEN or key not in base:
            base[key] = value


@contextmanager
def _language() -> Iterator[None]:
    """Let Hydra read as `LANGUAGE` says, and leave no trace of that."""
    before = version.VersionBase.instance()
    version.VersionBase.set_instance(version.VersionBase())
    try:
        version.setbase(LANGUAGE)
        yield
    finally:
        version.VersionBase.set_instance(before)
