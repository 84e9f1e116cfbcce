import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from clr.notebooks.parameters import check, check_notebook, declared, from_file

KINDS = {"rate": "float", "steps": "int", "data": "str", "live": "bool"}


def test_declared(tmp_path):
    source = "a: int = 1  # one\nb: str = 'x'\n"
    cell = new_code_cell(source, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "one.ipynb")
    assert declared(tmp_path / "one.ipynb") == {"a": "int", "b": "str"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"setps": 5}, "unknown parameter setps.*rate: float, steps: int"),
        ({"steps": "many"}, "steps must be int; got 'many'"),
        ({"steps": 2.5}, "steps must be int; got 2.5"),
        ({"steps": True}, "steps must be int; got True"),
        (
            {"rate": "1e-3"},
            "rate must be float; got '1e-3' .YAML reads 1e-3 as text; write 0.001",
        ),
        (
            {"rate": "1e-5"},
            "write 1.0e-05; papermill passes numbers with -p, text with -r.[.] Valid",
        ),
        ({"steps": "1e3"}, "steps must be int; got '1e3' .YAML reads 1e3 as text; write 1000."),
        ({"steps": "1.5"}, "got '1.5'[.] Valid"),  # nothing near it would be right
        ({"rate": "inf"}, "got 'inf'[.] Valid"),
        ({"steps": "1"}, "got '1' .it came as text; write 1 without quotes; papermill passes"),
        ({"rate": "0.01"}, "got '0.01' .it came as text; write 0.01 without quotes; "),
        ({"rate": "1.0e-3"}, "got '1.0e-3' .it came as text; write 0.001 without quotes"),
        ({"rate": "nan"}, "got 'nan'[.] Valid"),
        ({"live": "1"}, "live must be bool; got '1'[.] Valid"),
        ({"live": "yes"}, "live must be bool"),
        ({"data": 3}, "data must be str"),
        ({"x": 1, "live": 1}, "unknown parameter x; live must be bool; got 1"),
    ],
)
def test_bad_parameters_are_named_with_the_valid_ones(values, says):
    with pytest.raises(ValueError, match=says):
        check(values, KINDS, "here")


def test_good_parameters():
    check({"rate": 1, "steps": 2, "data": "x", "live": False}, KINDS, "here")


def test_inside_a_notebook():
    space = {"__annotations__": {"steps": int}, "steps": 5, "In": ["", "steps: int = 5"]}
    check_notebook(space | {"later": "names are the reader's own"})
    with pytest.raises(ValueError, match="steps must be int; got 'x'"):
        check_notebook(space | {"steps": "x"})
    injected = ["# Parameters\nsetps = 7\n"]
    with pytest.raises(
        ValueError, match="unknown parameter setps. Valid parameters: steps: int"
    ):
        check_notebook(space | {"setps": 7, "In": injected})


def test_files(tmp_path):
    good, bad, list_ = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "list.yaml"
    good.write_text("rate: 1.0e-3\nsteps: 7\n")
    assert from_file(good, KINDS) == {"rate": 0.001, "steps": 7}
    bad.write_text("rate: 1e-3\n")
    with pytest.raises(ValueError, match=r"bad.yaml: rate must be float"):
        from_file(bad, KINDS)
    list_.write_text("- 1\n")
    with pytest.raises(ValueError, match="must hold 'name: value' lines"):
        from_file(list_, KINDS)
    bad.write_text("rate: [1")
    with pytest.raises(yaml.YAMLError, match=r"bad.yaml"):
        from_file(bad, KINDS)
