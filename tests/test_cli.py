import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from clr import cli
from clr.notebooks import execution as runner
from clr.papers import scoreboard


def notebook(path, title, *code):
    parameters = new_code_cell("n: int = 1  # a number", metadata={"tags": ["parameters"]})
    check = new_code_cell(
        "from clr.notebooks.parameters import check_notebook\ncheck_notebook(globals())"
    )
    cells = [new_markdown_cell(f"# {title}\n\nOf $x^2$."), parameters, check]
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    tags = {"tags": ["main-figure"]}
    cells += [new_code_cell(source, metadata=tags) for source in code]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder of two notebooks, the second of which fails unless n is 2."""
    folder = tmp_path / "notebooks"
    (folder / "params" / "quick").mkdir(parents=True)
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, n])\nplt.show()"
    notebook(folder / "01_good.ipynb", "1  Good", figure)
    notebook(folder / "02_bad.ipynb", "2  Bad", "assert n == 2, 'n is not two'")
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def run(*args):
    return cli.main(["run", *map(str, args)])


def test_a_failure_is_named_and_the_others_still_run(notebooks, tmp_path, capsys):
    assert run("--out", tmp_path / "results") == 1
    out, folder = capsys.readouterr().out, tmp_path / "results" / "quick"
    assert "01_good: done in" in out
    assert "02_bad: FAILED, cell [3]: AssertionError: n is not two" in out
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "01_good.ipynb",
        "01_good.html",
        "02_bad.failed.ipynb",
        "figures",
        "index.html",
    }
    index = (folder / "index.html").read_text()
    assert "02_bad failed" in index and "n is not two" in index
    assert 'href="02_bad.failed.ipynb"' in index and "02_bad.failed.ipynb shows how" in out
    assert 'src="figures/01_good.png"' in index and (folder / "figures/01_good.png").exists()
    page = (folder / "01_good.html").read_text()
    assert "<math" in page and "<msup>" in page and "data:image/png;base64" in page
    assert "://" not in page.replace('"http://www.w3.org/1998/Math/MathML"', "")


def test_parameters_reach_the_notebooks(notebooks, tmp_path):
    assert run("--out", tmp_path / "r", "--only", "02", "-p", "n", "2", "--jobs", "2") == 0
    assert [p.name for p in (tmp_path / "r/quick,n=2").glob("*.ipynb")] == ["02_bad.ipynb"]
    (notebooks / "params/quick/02_bad.yaml").write_text("n: 2\n")
    assert run("--out", tmp_path / "r", "--only", "02") == 0
    assert run("--out", tmp_path / "r", "--only", "01") == 0
    index = (tmp_path / "r/quick/index.html").read_text()
    assert index.index("1  Good") < index.index("2  Bad")  # the earlier one is kept
    first = (tmp_path / "r/quick/01_good.html").read_text()
    assert 'href="index.html"' in first and 'href="02_bad.html" rel="next">2  Bad<' in first
    assert 'rel="prev"' not in first


def test_the_environment_changes_neither_the_kernel_nor_its_figures(
    notebooks, tmp_path, monkeypatch
):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    command = ["no-such-python", "-f", "{connection_file}"]
    (other / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    check = f"import sys\nassert sys.executable == {sys.executable!r}"
    notebook(notebooks / "03_own.ipynb", "3  Own", check)
    assert run("--out", tmp_path, "--only", "01", "03") == 0
    assert (tmp_path / "quick" / "figures" / "01_good.png").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-p", "m", "2"], "unknown parameter m. Valid parameters: n: int"),
        (["-p", "n", "two"], "n must be int; got 'two'"),
        (["--only", "07"], "no such notebook; there are 01_good, 02_bad"),
        (["--params", "huge"], "--params must be one of quick; got 'huge'"),
    ],
)
def test_nothing_runs_when_something_asked_for_does_not_exist(
    notebooks, tmp_path, capsys, args, says
):
    assert run("--out", tmp_path / "results", *args) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "results").exists()


def test_a_bad_parameter_file_stops_all(notebooks, tmp_path, capsys):
    (notebooks / "params/quick/02_bad.yaml").write_text("n: 1e1\n")
    assert run("--out", tmp_path / "results") == 2
    assert "02_bad.yaml: n must be int; got '1e1'" in capsys.readouterr().err


def test_a_results_folder_that_cannot_be_written(notebooks, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file") == 2
    err = capsys.readouterr().err
    assert "cannot write results to" in err and "give another folder with --out" in err


def start(notebooks, *args, **options):
    """The command in a process of its own."""
    script = f"""
from pathlib import Path
from clr import cli
from clr.notebooks import execution
execution.NOTEBOOKS = Path({str(notebooks)!r})
raise SystemExit(cli.main(["run", *{list(map(str, args))}]))
"""
    return subprocess.Popen([sys.executable, "-u", "-c", script], text=True, **options)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("too_large", ["01_good.ipynb", "01_good.html"])
def test_where_a_file_cannot_be_written_all_are_whole_or_missing(
    notebooks, tmp_path, capsys, too_large
):
    import resource

    assert run("--out", tmp_path) == 1
    folder = tmp_path / "quick"
    limit = (folder / too_large).stat().st_size - 1
    limits = (limit, limit)  # the limit of a file stands for a full disk
    process = start(
        notebooks, "--out", tmp_path, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )  # fmt: skip
    err = process.communicate(timeout=100)[1]
    assert process.returncode == 1 and err.count("\n") == 1
    assert re.match(r"clr run: \[Errno 27\] .*File too large.*; results are written to ", err)
    for path in folder.rglob("*"):
        assert path.name == "figures" or path.suffix in (".html", ".ipynb", ".png")
        if path.suffix == ".html":
            assert path.read_text().endswith("</html>")
        if path.suffix == ".ipynb":
            nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX terminal")
def test_a_terminal_shows_a_bar_of_cells(notebooks, tmp_path):
    import termios

    ours, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (40, 100))
    process = start(
        notebooks, "--only", "01", "--out", tmp_path, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's sign that the other end is closed
        while more := os.read(ours, 10_000):
            shown += more
    os.close(ours)
    assert process.wait() == 0
    bars = [state for state in re.split(r"[\r\n]", shown.decode()) if "01_good: " in state]
    assert "| 0/4" in bars[0] and "| 0/4" not in bars[-2]
    assert bars[-1].startswith("[1/1] 01_good: done in")


DEAF = """
import signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("first", ["", DEAF], ids=["", "deaf"])
def test_ctrl_c_stops_the_kernels_and_leaves_nothing_half_done(notebooks, tmp_path, first):
    notebook(notebooks / "03_long.ipynb", "3  Long", f"import time{first}\ntime.sleep(100)")
    process = start(notebooks, "--only", "03", "01", "--out", tmp_path, stdout=subprocess.PIPE)
    lines = iter(process.stdout.readline, "")
    assert any("01_good: done" in line for line in lines)
    partial = tmp_path / "quick" / ".03_long.partial.ipynb"
    while not partial.exists() or '"status": "running"' not in partial.read_text():
        time.sleep(0.1)
    time.sleep(1)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert "stopped; finished runs are kept" in process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert kernels and not any(kernel.is_running() for kernel in kernels)
    assert {path.name for path in (tmp_path / "quick").glob("*.ipynb")} == {"01_good.ipynb"}
    assert not partial.exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("seconds", [0, 0.5, 1, 1.5])
def test_ctrl_c_is_not_lost_while_a_kernel_starts(notebooks, tmp_path, seconds):
    notebook(notebooks / "03_long.ipynb", "3  Long", "import time\ntime.sleep(100)")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(notebooks, "--only", "03", "--out", tmp_path, **pipes)
    while not (kernels := psutil.Process(process.pid).children()):
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and out.count("\n") == 3 and err == ""
    assert not any(kernel.is_running() for kernel in kernels)
    assert not list((tmp_path / "quick").iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "--jobs", "0"], "--jobs: must be a whole number, at least 1; got '0'"),
        (["run", "--jobs", "two"], "--jobs: must be a whole number, at least 1; got 'two'"),
        (["run", "-p", "n"], "-p/--parameter: expected 2 arguments"),
        (["run", "--only"], "--only: expected at least one argument"),
        (["run", "--only", "--jobs", "2"], "--only: expected at least one argument"),
        (["run", "03"], "unrecognized arguments: 03"),
        (["run", "--param", "quick"], "unrecognized arguments: --param quick"),
        (["claims", "--json", "--readme"], "--readme: not allowed with argument --json"),
        (["bench", "--rounds", "-1"], "--rounds: must be a whole number, at least 1; got '-1'"),
        (["train"], "invalid choice: 'train' (choose from"),
        ([], "usage: python -m clr [-h] {run,sweep,claims,bench}"),
    ],
)
def test_bad_usage_is_named_and_returns_2(capsys, args, says):
    assert cli.main(args) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["--only", "03", "01", "-p", "n", "-2"],
        ["-p", "n", "-2", "--only", "03", "--only", "01"],
        ["--only", "03", "-p", "n", "-2", "--only=01"],
    ],
)
def test_an_option_takes_several_values(monkeypatch, args):
    asked = []
    monkeypatch.setattr(runner, "run", lambda *args, **options: asked.append(options) or 1)
    assert run(*args) == 1
    assert asked[0]["only"] == ["03", "01"] and asked[0]["given"] == [["n", "-2"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_return_130(monkeypatch, capsys, number):
    monkeypatch.setattr(scoreboard, "as_text", lambda: signal.raise_signal(number))
    assert cli.main(["claims"]) == 130
    assert capsys.readouterr().err == "\nstopped\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bad")])
def test_what_cannot_be_had_is_said_in_one_line(monkeypatch, capsys, error):
    def fails():
        raise error

    monkeypatch.setattr(scoreboard, "as_text", fails)
    assert cli.main(["claims"]) == 2
    assert capsys.readouterr().err == f"clr claims: {error}\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX pipe")
def test_a_closed_pipe_is_silent():
    """Also where the output fits into the buffer and is written only at the end."""
    read, write = os.pipe()
    os.close(read)
    short = "from clr import cli; from clr.papers import scoreboard; "
    short += "scoreboard.as_json = lambda: '{}'; "
    short += "raise SystemExit(cli.main(['claims', '--json']))"
    for each in ([sys.executable, "-c", short], [sys.executable, "-m", "clr", "--help"]):
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(each, stdout=write, stderr=subprocess.PIPE, env=buffered)
        assert (done.returncode, done.stderr) == (1, b"")
    os.close(write)


@pytest.mark.parametrize("command", ["run", "sweep", "claims", "bench"])
def test_every_command_has_help_with_an_example(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    example = out.partition("Example:\n")[2].splitlines()[0].split()
    assert example[:4] == ["python", "-m", "clr", command]
    cli.parser().parse_args(example[3:])  # raises SystemExit if it cannot be parsed


def test_help_imports_neither_torch_nor_jupyter():
    code = "import sys; from clr import cli; cli.main(['sweep', '--help']); "
    code += "assert not {'torch', 'numpy', 'papermill', 'nbformat'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_the_program_says_where_parameters_are_listed():
    done = subprocess.run(
        [sys.executable, "-m", "clr", "run", "-h"], capture_output=True, text=True
    )
    said = " ".join(done.stdout.split())
    assert done.returncode == 0 and "--params" in said
    assert (
        "parameters are listed in its first code cell" in said and "notebooks/params/" in said
    )


def test_results_of_other_parameters_have_a_folder_each(tmp_path):
    def folder(value):
        return runner._results(tmp_path, "quick", [("dataset", value)])

    assert folder("cifar10").name == "quick,dataset=cifar10"
    names = {folder(value).name for value in ("folder:a/b", "folder:a_b", "folder:a:b")}
    assert len(names) == 3
    assert len(folder("x" * 1000).name) < 200
