"""environment.yml, pyproject.toml and the lock say the same, and name no host."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


# What only the laboratory needs: the modules of its extra's packages, and two of Jupyter's.
EXTRA = {Requirement(text).name for text in PROJECT["optional-dependencies"]["lab"]}
LAB = {"IPython", "nbformat"} | {
    module
    for module, packages in packages_distributions().items()
    if EXTRA & set(map(canonicalize_name, packages))
}
BARE = f"import sys\nsys.modules.update(dict.fromkeys({LAB}))  # none of them can be imported\n"
LIBRARY = """
import numpy, torch
from clr.policies import RangeRamp, Triangular
from clr.range_test import lr_range_test
from clr.scheduler import PolicyLR

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batches = [(torch.randn(8, 4), torch.randint(2, (8,)))] * 4
cross_entropy = torch.nn.functional.cross_entropy
ramp = RangeRamp(0.0, 1.0, 4)
test = lr_range_test(model, batches, loss=cross_entropy, optimizer=optimizer, policy=ramp)
scheduler = PolicyLR(optimizer, Triangular(0.1, 0.5, stepsize=2))
for _ in range(2):
    optimizer.step(), scheduler.step()
print(*test.ended, optimizer.param_groups[0]["lr"])
"""


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


def test_no_merge_is_half_done():
    found = subprocess.run(
        ["git", "grep", "-lE", "^(<<<<<<<|>>>>>>>) "], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout == "", "these files hold the marks of a merge"


def test_the_page_about_the_tests_names_only_files_that_exist():
    named = re.findall(r"[\w/*]+\.(?:py|ipynb)\b", (ROOT / "tests" / "README.md").read_text())
    assert len(named) > 10
    for name in named:
        found = ROOT.glob(name) if "/" in name else (ROOT / "tests").rglob(name)
        assert any(found), name


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


def test_the_test_command_without_make_is_the_makefiles():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(
        r"\npython -m pytest .*\n", makefile.replace("\\\n", " ").replace("\t$(BIN)/", "")
    )
    assert recipe.group().strip().split() in [
        line.strip().removeprefix(".venv/bin/").split()
        for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    ]


def test_the_library_works_without_what_only_the_laboratory_needs():
    assert {"torchvision", "sklearn", "scipy", "yaml", "papermill"} <= LAB
    done = subprocess.run(
        [sys.executable, "-c", BARE + LIBRARY], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "finished 0.5\n"


@pytest.mark.parametrize("command", ["run --only 99", "sweep --list", "claims"])
def test_the_command_line_names_the_extra_it_needs(command):
    code = f"{BARE}import runpy\nsys.argv[1:] = {command.split()}\n"
    code += "runpy.run_module('clr', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("python -m clr needs the 'lab' extra: pip install '.[lab]'")
    assert done.stderr.count("\n") == 1
