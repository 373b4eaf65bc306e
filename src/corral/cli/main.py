"""
The door of the command line: every error leaves here as one sentence and an exit code.

0 done, 1 failed, 2 wrong usage, 128 and its number for a signal. One of the three places where `except Exception` is
meant.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from corral.cli import output
from corral.cli.streams import open_closed
from corral.version import __version__

_LISTED: Final = "`corral config show` has the Models of the config, `corral models list` shows the store."
_CANNOT_WRITE: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> NoReturn:
    """Run the command line of this process."""
    open_closed()
    output.never_fails(sys.stdout)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    rest = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:rest]
    arguments = [word for index, word in enumerate(arguments) if word != "--debug" or index > rest]
    try:
        if arguments and arguments[0] in ("--version", "-V"):  # at once: no command is built for it
            print(f"corral {__version__}")
            code = 0
        else:
            code = _run(arguments, debug=debug)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left (`corral ps | head -1`)
        _forget_stdout()
        return 1
    except OSError as error:  # a full disk behind `corral ps > file`
        if not _of_stdout(error):
            raise  # --debug wants to see it
        _forget_stdout()
        _complain(f"The output cannot be written: {error.strerror}.")
        return 1
    return code


def _run(arguments: Sequence[str], *, debug: bool) -> int:
    from corral.cli.commands import build
    from corral.cli.usage import UsageError
    from corral.domain.errors import CorralError, UnknownModel

    try:
        build(arguments)(args=list(arguments), prog_name="corral")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    except CorralError as error:
        if debug:
            raise
        _complain(error.sentence().replace(UnknownModel.listed, _LISTED))
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the CLI's door: one of the three
        if debug or _of_stdout(error):
            raise
        _complain(f"Internal error: {type(error).__name__}: {error}. Run it again with --debug for the whole story.")
        return 1
    return 0


def _of_stdout(error: Exception) -> bool:
    """True for what a `print` raises: errors of opening and of moving files name the file."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _CANNOT_WRITE


def _complain(text: str) -> None:
    try:
        for line in text.splitlines():
            print(f"corral: {line}", file=sys.stderr)
    except BrokenPipeError:
        pass


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
