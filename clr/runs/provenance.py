"""Where a run was made: the commit, the versions, the machine."""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import torch

from clr.paths import ROOT

CPUINFO = Path("/proc/cpuinfo")  # on Linux


def stamp(seconds: float, device: str, commit: str | None) -> dict:
    """Where and when a run of that many seconds was made on that device of this machine.

    `commit` names the code that made it (see the function `commit`); several commits are
    joined by commas.

    `tf32` says whether convolutions in float32 round their inputs to TF32, as PyTorch lets them
    on a GPU. On a CPU, the results are bit-identical where `processor`, `instructions`,
    `threads`, the versions and the commit are the same.
    """
    gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if gpu else "CPU"
    return {
        "seconds": round(seconds, 1),
        "device": f"{name} ({platform.machine()})",
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "tf32": gpu and torch.backends.cudnn.allow_tf32,
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": commit,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def processor() -> str | None:
    """The model name of the processor; None where the system does not say it."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    found = re.search(r"^model name\s*:\s*(\S.*?)\s*$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or None


@cache
def commit() -> str | None:
    """The package's git commit, with a + if its files differ from it.

    None without git, or if the package is not in a checkout of its own (installed in an
    environment inside another project, for example). It is read once per process, when the
    first training begins: the code that trains was imported before.
    """
    try:
        top, name, changes = (
            subprocess.run(
                # a run that is killed now must leave no lock in the checkout
                ["git", "--no-optional-locks", "-C", str(ROOT), *arguments],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--show-toplevel"],
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--", "clr"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + "+" * bool(changes) if Path(top).resolve() == ROOT else None
