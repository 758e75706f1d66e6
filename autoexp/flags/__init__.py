"""The flags that frameworks know, as data; `python -m autoexp.flagtable` makes it. Pure."""
