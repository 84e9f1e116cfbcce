"""torchvision's data sets, downloaded by one process only, and completely or not at all."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets.utils import check_integrity

TIMEOUT = 60.0  # seconds without an answer after which a server is given up
_changing_the_timeout = threading.Lock()


def torchvision_dataset(cls, root: Path) -> list:
    """[training set, test set] of a torchvision MNIST or CIFAR class under `root`.

    What is missing is downloaded by torchvision, which checks it; other processes wait for
    that. A folder that holds the data is only read. Raises ConnectionError, naming what
    failed and what can be done, if the data can be neither found nor downloaded.
    """
    try:
        return _read(cls, root)
    except RuntimeError:  # torchvision found nothing, or a wrong checksum
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{cls.__name__}.download.lock"):
            try:
                return _read(cls, root)  # another process has just downloaded it
            except RuntimeError:
                _download(cls, root)
            return _read(cls, root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise ConnectionError(
            f"could not download {cls.__name__} to {root}: {reason.rstrip('.')}. Nothing "
            "incomplete was kept. If you have the data elsewhere, let CLR_DATA name that "
            "folder; dataset='digits' needs no download"
        ) from error


def _read(cls, root: Path) -> list:
    return [cls(root, train=train) for train in (True, False)]


def _download(cls, root: Path):
    """Let torchvision download into a folder of its own, then move each file into place.

    torchvision writes directly to the files' final names. A broken download would stay there,
    and for MNIST also a half-unpacked file, because only its archives have checksums.
    """
    aside = root / f".{cls.__name__}.download"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    archives = _archives(cls)
    try:
        for name in archives:  # an archive that somebody put there need not be downloaded
            if (root / name).exists():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, aside / name)
        try:
            with _timeout(TIMEOUT):
                cls(aside, train=False, download=True)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            wrong = [
                f"{name.name} came incomplete or altered: its MD5 is not {md5}"
                for name, md5 in archives.items()
                if (aside / name).exists() and not check_integrity(aside / name, md5)
            ]
            if wrong:
                raise RuntimeError("; ".join([*wrong, str(error)])) from error
            raise
        for file in [path for path in aside.rglob("*") if path.is_file()]:
            place = root / file.relative_to(aside)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _archives(cls) -> dict[Path, str]:
    """The archives of a data set as torchvision names them below its root, with their MD5."""
    if hasattr(cls, "resources"):  # MNIST
        return {Path(cls.__name__, "raw", name): md5 for name, md5 in cls.resources}
    return {Path(cls.filename): cls.tgz_md5}


@contextmanager
def _timeout(seconds: float):
    """Give up connections that do not answer; torchvision has no argument for it.

    The default timeout belongs to the whole process, so one thread at a time changes it.
    """
    with _changing_the_timeout:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(seconds)
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)
