"""Downloads that show progress, resume, and are checked before they are believed."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def fetch(url: str, path: Path, md5: str) -> Path:
    """Download `url` to `path`, unless a file with that md5 is there already.

    What has come in lies in `path` + '.part' and is continued by the next call;
    the file gets its name once its md5 is right. Raises urllib.error.URLError or
    OSError when the connection fails, ValueError when the checksum is wrong.
    """
    if path.exists() and _md5(path) == md5:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part is complete already, or too long
            raise
    else:
        with answer, open(part, "ab" if answer.status == 206 else "wb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            bar = tqdm(
                desc=path.name,
                initial=file.tell(),
                total=file.tell() + length or None,
                unit="B",
                unit_scale=True,
                disable=None,
            )
            with bar:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)
                    bar.update(len(chunk))
        if length and part.stat().st_size != bar.total:
            raise ConnectionError(
                f"{url} broke off at {part.stat().st_size} of {bar.total} bytes"
            )
    if (found := _md5(part)) != md5:
        part.unlink()
        raise ValueError(f"{url} has md5 {found}, {md5} was expected; it was thrown away")
    part.rename(path)
    return path


@contextmanager
def _alone(lock: Path):
    """One process at a time; not where nothing can be written, as nobody downloads there."""
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except OSError:
        pass
    try:
        yield
    finally:
        held.release()


def torchvision_dataset(cls, root: Path) -> list:
    """[training set, test set] of a torchvision MNIST or CIFAR class under `root`.

    Downloads what is missing, each file from the first address that works; other processes
    wait for it. Raises ConnectionError, naming every address tried, when none does.
    """
    lock = root / f".{cls.__name__}.download.lock"
    if not lock.exists():  # nobody is at it
        try:
            return _parts(cls, root)
        except RuntimeError:  # torchvision's word for "not found or corrupted"
            pass
    with _alone(lock):
        try:
            return _parts(cls, root)
        except RuntimeError:
            _download(cls, root)
            return _parts(cls, root, download=True)  # unpacks


def _parts(cls, root, **options) -> list:
    return [cls(root, train=train, **options) for train in (True, False)]


def _download(cls, root: Path):
    if hasattr(cls, "mirrors"):
        files = [(cls.mirrors, name, md5) for name, md5 in cls.resources]
        folder = root / cls.__name__ / "raw"
    else:
        files = [([cls.url.removesuffix(cls.filename)], cls.filename, cls.tgz_md5)]
        folder = root
    for mirrors, name, md5 in files:
        failures = []
        for mirror in mirrors:
            try:
                fetch(mirror + name, folder / name, md5)
                break
            except (OSError, ValueError) as error:
                failures.append(f"{mirror + name}: {error}")
        else:
            raise ConnectionError(
                f"could not download {name} of {cls.__name__} to {folder} "
                f"({'; '.join(failures)}). What came in is kept and continued next time. "
                "If you have the data elsewhere, let CLR_DATA name that folder; "
                "dataset='digits' needs no download"
            )
