"""environment.yml, pyproject.toml and the lock say the same, and name no host."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

from clr.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [
    Requirement(text)
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for text in group
]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.lstrip().startswith("#")
]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
PIP = ENVIRONMENT["dependencies"][-1]["pip"]


def locked(system="linux", python="3.11"):
    """{name: version} of the lock on that system and Python."""
    environment = default_environment() | {
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "os_name": "nt" if system == "win32" else "posix",
        "platform_machine": "arm64" if system == "darwin" else "x86_64",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    chosen = [r for r in LOCK if r.marker is None or r.marker.evaluate(environment)]
    names = [r.name for r in chosen]
    assert len(names) == len(set(names))
    return {r.name: str(r.specifier).removeprefix("==") for r in chosen}


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_pins_everything_wanted_on_every_system(system, python):
    versions = locked(system, python)
    for requirement in WANTED:
        assert requirement.specifier.contains(versions[requirement.name]), requirement
    cuda = [name for name in versions if name.startswith(("nvidia", "cuda", "triton"))]
    assert bool(cuda) == (system == "linux")


def test_environment_yml_has_the_locks_versions_for_all_that_is_wanted():
    assert ENVIRONMENT["name"] == "clr" and ENVIRONMENT["dependencies"][0] == "python=3.11"
    assert PIP[-1] == "-e ."
    named = {r.name: str(r.specifier).removeprefix("==") for r in map(Requirement, PIP[:-1])}
    versions = locked()
    assert named == {r.name: versions[r.name] for r in WANTED}


def test_no_package_host_is_named():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in files.splitlines() or pytest.skip("not a git checkout"):
        content = (ROOT / name).read_bytes() if (ROOT / name).exists() else b""
        found = re.search(rb"(pypi\.|pythonhosted|download\.pytorch|anaconda\.)", content)
        assert not found or name == "tests/test_setup.py", (name, found)


def test_make_alone_prints_help():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for target in ("run", "test", "lab", "paper", "lint", "clean"):
        assert re.search(rf"make {target} +\S", done.stdout)


def test_a_python_that_is_too_old_is_named(tmp_path):
    (tmp_path / "old").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $2"\n'
    )
    (tmp_path / "old").chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["make", "run", "PYTHON=./old"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "This needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_calls_the_readmes_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in (ROOT / "README.md").read_text()


def test_pythonnets_module_of_the_same_name_is_spoken_of(tmp_path):
    (tmp_path / "pythonnet.py").touch()
    code = "import clr, clr.policies\n"
    code += "try: clr.AddReference('x')\nexcept AttributeError as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    sentence = "pythonnet's module is called clr, too; this clr is the companion"
    assert done.returncode == 0 and sentence in done.stderr and sentence in done.stdout
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
