"""
Where things lie in the store, by name alone.

    hf/ORG/REPO[@REVISION]/FILE    ollama/HOST/NAMESPACE/NAME/TAG/FILE    web/HOST/PATH    import/NAME.gguf

Beside a file NAME: `.NAME.part` while it comes, with the journal `.NAME.part.json` and the lock `.NAME.lock`; and
`.NAME.origin.json` once it is there. Nothing that begins with a dot is a model.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from corral.domain.errors import StoreFailed
from corral.domain.references import BadReference, check_inside

PART: Final = ".part"
JOURNAL: Final = ".part.json"
LOCK: Final = ".lock"
ORIGIN: Final = ".origin.json"
SUFFIXES: Final = (JOURNAL, PART, LOCK, ORIGIN)  # the longer first: each names one kind
_LONGEST_NAME: Final = 255  # bytes; what ext4, xfs, btrfs and APFS take


def beside(path: Path, suffix: str) -> Path:
    """The file of this suffix that belongs to `path`. A name that would be too long is shortened, by its hash."""
    name = f".{path.name}{suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
        name = f".~{digest}{suffix}"
    return path.with_name(name)


def place(root: Path, relative: str) -> Path:
    """
    The path below the store's folder, with no link on the way: a link in the store never leads a writer out of it.

    Raises StoreFailed. The last part may be anything, and need not be there.
    """
    try:
        check_inside(relative)
    except BadReference as error:
        raise StoreFailed(str(error)) from None
    folder = root
    *folders, name = relative.split("/")
    for part in folders:
        folder /= part
        try:
            mode = os.lstat(folder).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreFailed(f"{folder} cannot be looked at: {error.strerror}.") from error
        if not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "no folder"
            raise StoreFailed(f"{folder} is {what}: nothing in the store lies behind it.", hint="Remove it by hand.")
    return folder / name


def is_model_name(name: str) -> bool:
    """Whether a file of this name may be a model, as far as its name says."""
    return not name.startswith(".") and name.lower().endswith(".gguf")
