"""What is still to be done for jobs: what a restart found, and what the system kept from being done."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from autoexp.registry import Key

MOST_TRIES = 3
"""At how many sweeps an action is tried again that the system keeps from being done, until nobody waits for it."""
AT_A_TIME = 100
"""For how many jobs what is owed is done before the next look."""


@dataclass(slots=True)
class Debts:
    """Whose states may ask for something that was not done yet, as far as anybody knows."""

    owing: dict[Key, None] = field(default_factory=dict)
    """Jobs that are to be asked soon, in their order."""
    _failed: dict[str, Key] = field(default_factory=dict)
    """Actions that could not be carried out, by their names, and whose they are."""
    _tries: dict[str, int] = field(default_factory=dict)
    """At how many sweeps each was tried again."""

    def due(self) -> list[Key]:
        """Take out the jobs whose turn it is."""
        keys = list(islice(self.owing, AT_A_TIME))
        for key in keys:
            del self.owing[key]
        return keys

    def failed(self, action: str, key: Key, error: Exception) -> None:
        """Keep an action for the next sweep; what is not the system's fault is not worth to be waited for."""
        self._failed[action] = key
        self._tries.setdefault(action, 0 if isinstance(error, OSError) else MOST_TRIES)

    def try_again(self) -> list[str]:
        """Let what could not be done be done, as far as it is still asked for; list those actions."""
        failed, self._failed = self._failed, {}
        self._tries = {action: self._tries[action] + 1 for action in failed}
        self.owing.update(dict.fromkeys(failed.values()))
        return list(failed)

    def hopeful(self) -> Iterator[Key]:
        """List the jobs for which something may soon be done."""
        return chain(self.owing, (key for action, key in self._failed.items() if self._tries[action] < MOST_TRIES))
