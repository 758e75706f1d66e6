"""The commands: one module each, with `add_arguments(parser)` and `run(arguments) -> exit status`.

A module's docstring is what `autoexp <name> --help` says.
"""

from contextlib import suppress


def tell(text: str) -> None:
    """Print what a command that does something else says beside it; that goes on when nobody reads any more."""
    with suppress(BrokenPipeError):
        print(text, flush=True)
