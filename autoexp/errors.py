"""Errors a person can mend: each says what happened, why, and the fix.

Whatever is raised elsewhere is a bug of ours; `cli.main` tells the two apart.
"""


class AutoexpError(Exception):
    """A problem of the user's to fix; printed as three lines, never as a traceback."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"


class RecipeError(AutoexpError):
    """A recipe, an override or a machine file that cannot be taken as it is."""


class HookRefused(AutoexpError):
    """A hook's pre-flight said no.

    `temporary` says that waiting may mend it (a checkpoint not yet whole), so the job is tried again later
    without using up an attempt.
    """

    def __init__(self, what: str, *, why: str, fix: str, temporary: bool = False) -> None:
        super().__init__(what, why=why, fix=fix)
        self.temporary = temporary


class AlreadyWatched(AutoexpError):
    """The root has a live watcher; try again later (exit status 75)."""


class TakenOver(AlreadyWatched):
    """The root was ours to watch, and is no more."""
