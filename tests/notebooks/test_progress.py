import contextlib
import io

from clr.notebooks.progress import Progress


def printed(terminal):
    """What is printed of two notebooks of which one ends, to a terminal or to a file."""
    out = io.StringIO()
    out.isatty = lambda: terminal
    with contextlib.redirect_stdout(out), Progress({"03_one": 4, "04_two": 6}) as progress:
        for name in ("03_one", "04_two", "03_one"):
            progress.begin_cell(name)
        progress.draw()
        progress.begin_page("03_one")
        progress.draw()
        progress.end("03_one", "done in 5 s")
        progress.draw()
    return out.getvalue()


def test_a_terminal_shows_one_bar_below_whole_lines():
    lines = printed(terminal=True).split("\n")
    assert lines[0].endswith(" \r[1/2] 03_one: done in 5 s")  # the bar was removed before
    states = [state.rstrip() for line in lines for state in line.split("\r")]
    bars = [state for state in states if "%" in state]
    shown = [state.split(" |")[0] + state.rpartition("|")[2] for state in bars]
    assert shown[0] == "starting 0 %, about ? left"
    assert shown[1].startswith("03: cell 2 of 4, 04: cell 1 of 6 10 %, about 00:")
    assert shown[2].startswith("03: its page, 04: cell 1 of 6 40 %, about 00:")
    assert shown[-1].startswith("04: cell 1 of 6 40 %, about 00:")
    assert states[-1] == ""  # it is removed in the end, too


def test_a_file_gets_the_lines_alone():
    assert printed(terminal=False) == "[1/2] 03_one: done in 5 s\n"
