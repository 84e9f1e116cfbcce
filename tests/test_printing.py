from clr.printing import duration, percent


def test_percent():
    assert percent(0.8141) == "81.4"
    assert percent(0.8141, 0.0032) == "81.4 ± 0.3"
    assert percent(0.9925, 0.0003, digits=2) == "99.25 ± 0.03"
    assert percent(float("nan")) == percent(None) == "–"


def test_duration():
    assert [duration(s) for s in (7, 400, 9000)] == ["7 s", "7 min", "2.5 h"]
