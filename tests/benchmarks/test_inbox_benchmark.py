import json

import pytest

from benchmarks.inbox import growth, main, summary


def test_every_step_is_measured_at_every_size(capsys):
    assert main(["--sizes", "8", "40", "--json"]) in (0, 1)  # how fast a busy machine is says nothing here
    found = json.loads(capsys.readouterr().out)
    assert list(found["seconds"]) == ["8", "40"]
    for seconds in found["seconds"].values():
        assert list(seconds) == list(found["growth"]) and len(seconds) > 25
        assert {"file", "claim", "close", "tru requests list --json", "deadlines, closed"} <= set(seconds)


def test_growth_tells_a_quadratic_step_from_a_linear_one():
    assert growth(0.1, 1.0, 10) == 1.0
    assert growth(0.1, 10.0, 10) == 10.0
    assert growth(0.0001, 0.1, 10) is None
    steps = {10: {"a": 9.0, "b": 1.0}, 100: {"a": 0.1, "b": 1.0}, 1000: {"a": 1.0, "b": 100.0}}
    assert summary(steps) == {
        "passed": False,
        "growth": {"a": 1.0, "b": 10.0},
        "seconds": {"10": steps[10], "100": steps[100], "1000": steps[1000]},
    }


@pytest.mark.parametrize("sizes", [["100"], ["100", "100"], ["1", "100"]])
def test_growth_needs_two_sizes(sizes, capsys):
    with pytest.raises(SystemExit):
        main(["--sizes", *sizes])
    assert "at least two sizes" in capsys.readouterr().err
