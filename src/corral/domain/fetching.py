"""How far a fetch is, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corral.domain.units import format_bytes, format_duration, to_millisecond


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a fetch is. `per_s` bytes a second over the last few seconds; `done_bytes` counts what was there.

    `doing`: looking what there is; queued, for its turn among others; fetching; stalled, while the server sends nothing
    or wants to be left alone; waiting for another process that fetches the same; verifying.
    """

    done_bytes: int
    total_bytes: int | None
    per_s: float = 0.0
    files_done: int = 0
    files: int = 1
    file: str = ""  # its name, of the one that is coming
    doing: str = "fetching"  # looking, queued, fetching, stalled, waiting or verifying
    path: str = ""  # of that file, below the store's folder
    file_done_bytes: int = 0
    file_bytes: int | None = None

    @property
    def waits(self) -> bool:
        """Whether it is somebody else's turn to do something."""
        return self.doing in ("stalled", "waiting")

    @property
    def held_up(self) -> str:
        """Why nothing comes, for people; "" while something does."""
        return {
            "queued": "others come first",
            "stalled": "nothing comes for now",
            "waiting": "another process fetches it",
        }.get(self.doing, "")

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the end is not known."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else None

    @property
    def left_s(self) -> float | None:
        """Seconds until it is there at this speed; None where that cannot be told."""
        if self.total_bytes is None or self.per_s <= 0:
            return None
        return max(0.0, (self.total_bytes - self.done_bytes) / self.per_s)

    def words(self) -> str:
        """`25.3 % (512 MiB of 2 GiB), 80 MiB/s, about 19s more`; "" where nothing is known yet."""
        if self.total_bytes:
            share = min(100.0, self.done_bytes / self.total_bytes * 100)
            parts = [f"{share:.1f} % ({format_bytes(self.done_bytes)} of {format_bytes(self.total_bytes)})"]
        else:
            parts = [format_bytes(self.done_bytes)] if self.done_bytes else []
        if self.per_s > 0:
            parts.append(f"{format_bytes(round(self.per_s))}/s")
        if self.left_s is not None:
            parts.append(f"about {format_duration(max(1, round(self.left_s)))} more")
        if parts and self.held_up:
            parts.append(self.held_up)
        return ", ".join(parts)

    def row(self) -> dict[str, object]:
        """It in a listing."""
        return {
            "doing": self.doing,
            "file": self.file,
            "files_done": self.files_done,
            "files": self.files,
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "progress": None if self.share is None else round(self.share, 4),
            "bytes_per_s": round(self.per_s),
            "left_s": to_millisecond(self.left_s),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Progress:
        """What such a row says; of another version's, what is left of it."""
        return cls(
            row.get("done_bytes") or 0,
            row.get("total_bytes"),
            row.get("bytes_per_s") or 0.0,
            row.get("files_done") or 0,
            row.get("files") or 1,
            row.get("file") or "",
            row.get("doing") or "fetching",
        )


@dataclass(slots=True)
class Traffic:
    """What has come over the network: neither what was there nor what is only looked at."""

    fetched_bytes: int = 0
    _coming: str = ""  # the file of which bytes come, and how far all was when they last did
    _done_bytes: int = 0

    def count(self, progress: Progress) -> None:
        """So far it is now."""
        file = progress.path or progress.file  # two files of one model may have the same name
        if progress.doing == "fetching":
            if self._coming == file:
                self.fetched_bytes += max(0, progress.done_bytes - self._done_bytes)
            self._coming, self._done_bytes = file, progress.done_bytes
        elif progress.doing == "waiting":  # somebody else fetches it
            self._coming = ""
