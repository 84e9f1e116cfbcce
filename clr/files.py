"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: bytes, advice: str = ""):
    """Write a file as a temporary one, which is synced and then renamed.

    Raises OSError with the file, the reason and `advice`. No half-written file is left, not
    even after Ctrl-C. The temporary file is `.NAME.<random>.tmp` beside the file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:  # "x" refuses a file or link that stands there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # the error raised below says what is wrong
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise not_written(path, error, advice) from error
        raise


def not_written(path: Path, error: OSError, advice: str = "") -> OSError:
    """The error for a file that could not be written, with the advice."""
    return OSError(
        error.errno,
        f"could not write {path.name} to {path.parent}: {error.strerror}; "
        f"nothing half-written was left{advice}",
    )
