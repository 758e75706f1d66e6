"""A cluster in virtual time: a scheduler, its nodes, their network file system, and what happens to all of them.

The watcher in it is the real one, over a real folder; only time, notifications and the scheduler are made up.
Everything that happens by chance comes from a seed.
"""
