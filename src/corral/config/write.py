"""Writing a config without ever losing one: a new file, or another content for one that is there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator

from corral.domain.errors import ConfigError, Conflict


def write_new(path: str, text: str, *, force: bool = False) -> None:
    """
    Write a config file (mode 0600: it may come to hold keys), whole or not at all.

    Raises Conflict when the file is there already and `force` is not given, ConfigError when it cannot be written or
    its folder does not exist: a folder that nobody asked for may be a slip of the pen.
    """
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise ConfigError(f"there is no folder {folder}.", file=path, hint="Create it, or correct the path.")
    try:
        if force:
            _write(f"{path}.{os.getpid()}.new", text)
            os.replace(f"{path}.{os.getpid()}.new", path)
        else:
            _write(path, text)
    except FileExistsError:
        raise Conflict(f"{path} exists already.", hint="`--force` replaces it.") from None
    except OSError as error:
        raise ConfigError(f"the file cannot be written: {error.strerror}", file=path) from None


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace(path: str, before: str, after: str) -> None:
    """
    Give a config file another content, whole or not at all; its mode and owner, and a link to it, stay.

    Raises Conflict when the file is no longer as it was `before`, ConfigError when it cannot be written.
    """
    target = os.path.realpath(path)
    try:
        with _alone(target):
            if _content(target) != before:
                raise Conflict(f"{path} was changed by another hand meanwhile.", hint="Look at it and try again.")
            _swap(target, after)
    except OSError as error:
        raise ConfigError(f"the file cannot be written: {error.strerror}", file=path) from None


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Two commands that change one file do it one after the other."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _content(path: str) -> str:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        return file.read()


def _swap(path: str, text: str) -> None:
    with open(path, "rb") as old:
        marked = old.read(3) == b"\xef\xbb\xbf"
    was = os.stat(path)
    handle, fresh = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8-sig" if marked else "utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, stat.S_IMODE(was.st_mode))
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):  # it stays readable for whom its mode lets
                    os.fchown(handle, was.st_uid, was.st_gid)
            os.fsync(handle)
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise
