import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from clr import cli
from clr import notebooks as runner


def notebook(path, title, *code):
    parameters = new_code_cell("n: int = 1  # a number", metadata={"tags": ["parameters"]})
    check = new_code_cell(
        "from clr.parameters import check_notebook\ncheck_notebook(globals())"
    )
    cells = [new_markdown_cell(f"# {title}\n\nOf $x^2$."), parameters, check]
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    nbformat.write(
        new_notebook(cells=cells + [new_code_cell(c) for c in code], metadata=kernel), path
    )


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
    assert (
        'src="figures/01_good-1.png"' in index and (folder / "figures/01_good-1.png").exists()
    )
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


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-p", "m", "2"], "unknown parameter m. Valid parameters: n: int"),
        (["-p", "n", "two"], "n must be int; got 'two'"),
        (["--only", "07"], "no such notebook; there are 01_good, 02_bad"),
        (["--params", "huge"], "--params must be one of quick; got huge"),
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
    assert "cannot write results to" in err and "--out names another folder" in err


def test_ctrl_c_stops_the_kernels_and_leaves_nothing_half_done(notebooks, tmp_path):
    notebook(notebooks / "03_long.ipynb", "3  Long", "import time\ntime.sleep(100)")
    script = f"""
from pathlib import Path
from clr import cli, notebooks
notebooks.NOTEBOOKS = Path({str(notebooks)!r})
raise SystemExit(cli.main(["run", "--only", "03", "01", "--out", {str(tmp_path)!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True
    )
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


def test_bad_jobs(capsys):
    with pytest.raises(SystemExit):
        run("--jobs", "0")
    assert "must be a whole number from 1 up; got '0'" in capsys.readouterr().err


def test_the_program_has_help():
    done = subprocess.run(
        [sys.executable, "-m", "clr", "run", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--params" in done.stdout
