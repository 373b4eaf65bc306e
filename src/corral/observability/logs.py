"""Logging: one line for people or one JSON object for machines, to stderr or a file. No prompt and no key gets here."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from corral.domain.errors import PlaceFailed

MOST_BYTES: Final = 20 * 1024**2
KEPT_FILES: Final = 3


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, and `error` with the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return json.dumps(entry, ensure_ascii=False)


def _file_handler(file: str) -> logging.Handler:
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(file, maxBytes=MOST_BYTES, backupCount=KEPT_FILES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlaceFailed(
            f"The log cannot be written to {file}: {reason}.", hint="Correct `log.file`, or the rights of its folder."
        ) from error


def configure(*, level: str = "info", format: str = "text", file: str = "") -> None:
    """
    Set the root logger up; call it once, before the first log line.

    Raises PlaceFailed for a file that cannot be written.
    """
    handler: logging.Handler
    if file:
        handler = _file_handler(file)
    else:
        handler = logging.StreamHandler(sys.stderr)
    if format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
