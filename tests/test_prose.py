import pytest

from tru.prose import duration, several


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "under 0.1 s"),
        (0.049, "under 0.1 s"),
        (0.05, "0.1 s"),
        (0.4, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (72, "1 min 12 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (200_000, "55 h 33 min"),
    ],
)
def test_a_duration_is_said_as_a_person_would(seconds, said):
    assert duration(seconds) == said


def test_no_duration_says_sixty_of_a_unit():
    for tenth in range(80_000):
        words = duration(tenth / 10).split()
        assert not {"60", "60.0"} & set(words), words


@pytest.mark.parametrize(("number", "said"), [(0, "0 requests"), (1, "1 request"), (90, "90 requests")])
def test_one_is_not_many(number, said):
    assert several(number, "request") == said
    assert several(number, "was", "were") == f"{number} {'was' if number == 1 else 'were'}"
