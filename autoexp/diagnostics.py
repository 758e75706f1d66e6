"""The watcher's own diagnostics: watch.jsonl for later, the terminal for now. Nothing ever decides by them."""

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

LARGEST_BYTES = 4 << 20
KEPT_FILES = 3
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def level(*, debug: bool) -> int:
    """Return the level asked for: `--debug` first, then AUTOEXP_LOG_LEVEL, then WARNING."""
    name = "DEBUG" if debug else os.environ.get("AUTOEXP_LOG_LEVEL", "WARNING").upper()
    return int(getattr(logging, name)) if name in LEVELS else logging.WARNING


def set_up(var: Path, *, debug: bool) -> Any:
    """Send what we log to var/watch.jsonl, rotated, and what is as grave as asked to the terminal too."""
    var.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = RotatingFileHandler(var / "watch.jsonl", maxBytes=LARGEST_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(level(debug=debug))
    file.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer()))
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    console = structlog.dev.ConsoleRenderer(colors=colors)
    terminal.setFormatter(structlog.stdlib.ProcessorFormatter(processor=console))
    logging.raiseExceptions = False  # a full disk under var ends the watcher with one message, not with a page
    logger = logging.getLogger("autoexp")
    logger.handlers = [file, terminal]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger("autoexp")
