"""The exercises: the solutions pass, and every check says what is wrong."""

import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import papermill
import pytest
from nbgrader.preprocessors import Execute
from traitlets.config import PyFileConfigLoader

from clr.notebooks import parameters
from clr.notebooks.execution import NOTEBOOKS
from clr.paths import ROOT

SOURCES = sorted((NOTEBOOKS / "exercises").glob("*.ipynb"))
each = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
STUB = "...  # write your answer here"

# What the check says to a student who has not answered.
UNANSWERED = {
    "triangular": "triangular returns nothing: give it a body",
    "repaired": "first_rate is None: put t = 0 into the formula",
    "at-8000": "your rate for 'both bounds' is None: derive it",
    "per-cycle": "gamma_per_cycle returns nothing",
    "read": "base_lr is None: read it off the figure",
    "trap": "highest must have the keys A, B and C; it has []",
    "own": "own is not a range test: use ramp_to",
    "stepsize": "stepsize_of returns nothing",
    "stop": "predicted is None: predict before you run",
    "control": "control is None: choose one from clr.policies",
    "average": "still_there returns nothing",
    "gap": "gap must have the keys ['one cycle', 'step']; it has []",
    "missing": "missing is None: choose one from clr.policies",
    "width": "octaves returns nothing",
    "choose": "rate is None: choose one",
    "beat": "schedule is None: choose a policy",
}
# Frequent wrong answers, and what the check says to each.
WRONG = [
    (
        "triangular",  # the stepsize taken for the whole cycle
        """
def triangular(t, base_lr, max_lr, stepsize):
    cycle = 1 + t // stepsize
    x = abs(2 * t / stepsize - 2 * cycle + 1)
    return base_lr + (max_lr - base_lr) * max(0, 1 - x)
""",
        "your rate at half way up (iteration 1,000) is 0.006; the paper's is 0.0035, with "
        "stepsize 2,000. Your cycle has one stepsize; the paper's has two.",
    ),
    (
        "triangular",  # cycles counted from 0 in a formula that counts from 1
        """
def triangular(t, base_lr, max_lr, stepsize):
    cycle = t // (2 * stepsize)
    x = abs(t / stepsize - 2 * cycle + 1)
    return base_lr + (max_lr - base_lr) * max(0, 1 - x)
""",
        "your rate at half way up (iteration 1,000) is 0.001; the paper's is 0.0035, with "
        "stepsize 2,000.",
    ),
    (
        "triangular",  # the slip in circulation
        """
def triangular(t, base_lr, max_lr, stepsize):
    cycle = 1 + t // (2 * stepsize)
    x = abs(t / stepsize - 2 * cycle + 1)
    return base_lr + (max_lr - base_lr) * max(0, x - 1)
""",
        "your rate at half way up (iteration 1,000) is 0.001; the paper's is 0.0035, with "
        "stepsize 2,000.",
    ),
    (
        "repaired",
        "first_rate = 0.001",
        "your first_rate is 0.001; at t = 0 x is 0, so 1 - x is 1",
    ),
    (
        "repaired",  # off by one iteration instead of one stepsize
        """
first_rate = 0.006
def repaired(t, base_lr, max_lr, stepsize):
    return in_circulation(t + 1, base_lr, max_lr, stepsize)
""",
        "your repaired rate at iteration 0 is 0.0059975; the paper's is 0.001",
    ),
    (
        "at-8000",  # base_lr taken for a constant
        "def at_8000(base_lr, max_lr, gamma): return base_lr, base_lr, base_lr",
        "your rate for 'both bounds' is 0.001; it is 0.0006188",
    ),
    (
        "at-8000",  # the swing taken to be at its largest
        """
def at_8000(base_lr, max_lr, gamma):
    swing = max_lr - base_lr
    return gamma**8000 * base_lr, base_lr + gamma**8000 * swing, base_lr + gamma**2 * swing
""",
        "your rate for 'swing by iteration' is 0.004094; it is 0.001",
    ),
    (
        "at-8000",  # the two readings that agree, given once
        "def at_8000(base_lr, max_lr, gamma): return gamma**8000 * base_lr, base_lr",
        "return three rates, not (",
    ),
    (
        "per-cycle",
        "def gamma_per_cycle(gamma, stepsize): return gamma**stepsize",
        "with your gamma per cycle the second top is 0.887 of the first; PyTorch's is 0.787",
    ),
    (
        "read",  # where accuracy falls instead of where its rise slows
        "base_lr, max_lr = 0.001, 0.012",
        "your max_lr is 0.012, where accuracy falls (about 0.012); take the rate at which",
    ),
    (
        "read",
        "base_lr, max_lr = 0.0001, 0.006",
        "your base_lr, 0.0001, is too small: look further right.",
    ),
    (
        "read",  # the highest accuracy instead of where the rise slows
        "base_lr, max_lr = 0.001, 0.01",
        "your max_lr, 0.01, is too large: look further left.",
    ),
    (
        "trap",  # the end of a ramp that ended too early
        'highest = {"A": 0.12, "B": 0.001, "C": 0.08}',
        "your max_lr of test B is 0.001; but accuracy still rises at the end of that ramp",
    ),
    (
        "own",  # the paper's bounds for another network
        """
own = ramp_to(0.001, seeds=(5, 6), batch_size=2)
base_lr, max_lr = 0.0001, 0.0006
""",
        "% on average; 88% is asked for. Accuracy still rises where your test ends",
    ),
    (
        "stepsize",  # the whole cycle taken for the stepsize
        """
def stepsize_of(epochs, images, batch_size): return epochs * -(-images // batch_size)
def last_stop(budget, stepsize): return budget // stepsize * stepsize
""",
        "your last stop within 23,000 iterations at stepsize 2,000 is 22,000, where the rate "
        "is 0.006",
    ),
    (
        "stepsize",  # the slip in circulation: a multiple of the batch
        "def stepsize_of(epochs, images, batch_size): return epochs * batch_size",
        "your stepsize for 2 epochs of 50,000 images in batches of 100 is 200",
    ),
    (
        "stop",
        "predicted, costs = 5.0, [0.05] * 4",
        "costs has 4 numbers; one per seed is 5",
    ),
    (
        "stop",  # fractions instead of points
        """
predicted, ran = 5.0, [history(Triangular(0.002, 0.12, 100), seed) for seed in range(5)]
costs = [each[200] - each[300] for each in ran]
""",
        "points. Points are hundredths.",
    ),
    (
        "stop",  # the other way round
        """
predicted, ran = 5.0, [history(Triangular(0.002, 0.12, 100), seed) for seed in range(5)]
costs = [100 * (each[300] - each[200]) for each in ran]
""",
        "The sign: accuracy at 200 minus accuracy at 300.",
    ),
    (
        "stop",  # the end of the second cycle instead of the first
        """
predicted, ran = 5.0, [history(Triangular(0.002, 0.12, 100), seed) for seed in range(5)]
costs = [100 * (each[400] - each[300]) for each in ran]
""",
        "You took the end of the second cycle; the first ends at 200.",
    ),
    (
        "stop",  # one seed, and zeros
        """
predicted, ran = 5.0, history(Triangular(0.002, 0.12, 100), 0)
costs = [100 * (ran[200] - ran[300]), 0, 0, 0, 0]
""",
        "your cost for seed 1 is 0; it is ",
    ),
    (
        "control",
        "control = Fixed(0.061)",
        "your control ends at 0.061; the cycles end at 0.002",
    ),
    (
        "control",
        "control = Triangular(0.002, 0.12, 200)",
        "your control rises after iteration 0",
    ),
    (
        "control",
        "control = Fixed(0.002)",
        "the mean rate of your control is 0.0020; the cycles' is 0.0610",
    ),
    (
        "average",  # the share of a new value
        "def still_there(fraction, iterations): return (1 - fraction) ** iterations",
        "you say that after 600 iterations 0 of the old value is left; counted step by step",
    ),
    (
        "gap",
        "gap = (100 * (paper - logs['best_accuracy'])).to_dict()",
        "You took the best test of the log; it ends lower.",
    ),
    ("gap", "gap = (paper - logs['final_accuracy']).to_dict()", "Points are hundredths."),
    (
        "gap",
        "gap = (100 * (logs['final_accuracy'] - paper)).to_dict()",
        "The sign: published minus log.",
    ),
    (
        "missing",
        "missing, length = Step(0.05, (500, 700)), 800",
        "your arm has 800 iterations; it has to have the cycle's 100",
    ),
    (
        "missing",
        "missing, length = Decay(0.0, 0.2, 100), 100",
        "the highest rate of your arm is 0.2; without large rates it is not above 0.05",
    ),
    (
        "missing",  # an arm that cannot win
        "missing, length = Decay(0.0, 0.001, 100), 100",
        "the highest rate of your arm is 0.001, below the cycle's base_lr",
    ),
    (
        "width",  # the natural logarithm
        "def octaves(low, high): return np.log(high / low)",
        "you say that 0.01 to 0.08 is 2.08 octaves wide; it is a factor of 8",
    ),
    (
        "choose",  # by the test images, or by the best seed
        "rate, accuracy = 0.04, 0.9433",
        "your rate is 0.04: it is best on the test images, or has the best single seed",
    ),
    (
        "choose",
        "rate, accuracy = 0.02, 0.9467",
        "your accuracy is 0.9467; the rate was chosen by the validation images",
    ),
    ("beat", "schedule = 0.05", "schedule is a float; it has to be a policy"),
    ("beat", "schedule = Fixed(0.02)", "your schedule is constant, at 0.02"),
    (
        "beat",  # far too large a rate
        "schedule = Decay(0.0, 1.0, 400)",
        "points behind the constant rate",
    ),
]
# The mean accuracies, in percent, that the instructor's guide gives for the last exercise.
GUIDE = {
    "03_cifar10_policies": {"cycles": 84, "control": 92, "fixed": 76},
    "04_super_convergence": {"one cycle": 91, "step": 97, "missing": 91},
}


def kind(cell):
    """What nbgrader knows a cell as: "answer", "check" or None."""
    known = cell.metadata.get("nbgrader", {})
    return "check" if known.get("grade") else "answer" if known.get("solution") else None


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def said(check, answer, space):
    """What the check says to another answer, whose names do not stay."""
    space = dict(space)
    exec(answer, space)
    with pytest.raises(AssertionError) as error:
        exec(check, space)
    return " ".join(str(error.value).split())


@pytest.fixture(scope="module")
def students(made_by_make):
    """The students' versions, as `make exercises` writes them."""
    return made_by_make("exercises") / "exercises"


@each
def test_three_exercises_each_answer_followed_by_its_check(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    levels = re.findall(r"^## \d\. .+ \((\w+)\)$", text, re.MULTILINE)
    assert levels == ["easy", "medium", "open"]
    assert text.startswith(f"# Exercises {int(path.name[:2])}: ")
    assert all(f"**{word}:**" in text for word in ("You will", "You need"))
    assert "**Afterwards you can:**" in text
    cells = code(path)
    kinds = [kind(cell) for cell in cells]
    answers = [i for i, each_kind in enumerate(kinds) if each_kind == "answer"]
    assert [kinds[i + 1] for i in answers] == ["check"] * len(answers) and len(answers) >= 3
    for answer, check in ((cells[i], cells[i + 1]) for i in answers):
        assert answer.metadata.nbgrader.grade_id == answer.id
        assert check.metadata.nbgrader.grade_id == check.id == f"{answer.id}-check"
    assert text.count("<summary>Hint</summary>") == len(answers)


@each
def test_cells_are_short_explained_and_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert 1.1 <= (len(cells) - len(code(path))) / len(code(path)) <= 1.8
    for cell in code(path):
        assert not cell.outputs and cell.execution_count is None
        lines = cell.source.splitlines()
        assert len(lines) <= 25 and max(map(len, lines)) <= 84


@each
def test_parameters_are_declared_and_checked(path):
    first, second = code(path)[:2]
    assert first.metadata.tags == ["parameters"] and parameters.declared(path)
    assert "check_notebook(globals())" in second.source


def test_every_answer_has_its_messages_here():
    ids = {c.id for path in SOURCES for c in code(path) if kind(c) == "answer"}
    assert ids == set(UNANSWERED) == {grade_id for grade_id, _, _ in WRONG}


@each
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_solutions_pass_and_other_answers_are_told_what_is_wrong(path, students):
    space, cells = {"__name__": "exercises"}, code(path)
    stubs = {c.id: c.source for c in code(students / path.name) if kind(c) == "answer"}
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if kind(cell) == "answer":
            assert STUB in stubs[cell.id]
            told = said(following.source, stubs[cell.id], space)
            assert told.startswith(UNANSWERED[cell.id]), told
            for _, answer, message in (w for w in WRONG if w[0] == cell.id):
                told = said(following.source, answer, space)
                assert message in told
        exec(cell.source, space)
        plt.close("all")
    for name, percent in GUIDE.get(path.stem, {}).items():
        assert abs(100 * np.mean(space["ends"][name]) - percent) < 1.5
        assert f"{percent} %" in guide()


def guide():
    return " ".join((ROOT / "docs" / "instructors.md").read_text().split())


def test_grading_waits_for_a_cell_that_trains():
    config = PyFileConfigLoader(str(ROOT / "nbgrader_config.py")).load_config()
    assert Execute(config=config).timeout >= 120  # nbgrader's own is 30 s


def test_the_guide_has_the_points_of_the_checks():
    checks = {path.name[:2]: [c for c in code(path) if kind(c) == "check"] for path in SOURCES}
    points = {key: sum(c.metadata.nbgrader.points for c in cs) for key, cs in checks.items()}
    assert points == {"01": 4, "02": 3, "03": 5, "04": 5, "06": 6}
    said = (
        "4 in exercises 1, 3 in exercises 2, 5 each in exercises 3 and 4, and 6 in exercises 6"
    )
    assert f"{said}: {sum(points.values())} in all" in guide()


@each
def test_the_students_version_shows_no_solution_and_stops_at_its_first_check(path, students):
    cells = code(students / path.name)
    text = "".join(c.source for c in cells)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    space = {"__name__": "exercises"}
    first = next(cell for cell in cells if kind(cell) == "check")
    for cell in cells[: cells.index(first)]:
        exec(cell.source, space)
    plt.close("all")
    with pytest.raises(AssertionError, match=r"None|nothing|must have the keys"):
        exec(first.source, space)


def test_a_students_version_under_papermill(students, tmp_path):
    name = "01_schedule_math.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="triangular returns nothing"):
        papermill.execute_notebook(students / name, tmp_path / name, progress_bar=False)
