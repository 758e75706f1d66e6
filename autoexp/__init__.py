"""autoexp: LLM training and scaling studies as recipes, jobs and a journal."""

__version__ = "0.1.0"
