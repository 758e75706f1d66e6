"""The commands: one module each, with `add_arguments(parser)` and `run(arguments) -> exit status`.

A module's docstring is what `autoexp <name> --help` says.
"""
