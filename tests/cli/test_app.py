"""No command of ``tru`` loses one of two values: an option takes several, or refuses to be given twice."""

from collections.abc import Iterator
from typing import Annotated

import pytest
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.testing import CliRunner

from tru.cli.app import App, takes_one_value
from tru.cli.main import app
from tru.errors import CommandError

# What may be repeated, decided one by one: each value counts.
REPEATABLE = {
    ("requests", "add", "--user"),
    ("requests", "add", "--item"),
    ("requests", "add", "--modality"),
    ("requests", "list", "--state"),
    ("certificate", "show", "--key"),
    ("certificate", "verify", "--key"),
    ("certificate", "show", "--ref"),
    ("certificate", "verify", "--ref"),
    ("certificate", "export", "--ref"),
    ("batch", "split", "--request"),
}


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def options() -> list[tuple[tuple[str, ...], TyperOption, str]]:
    """Every way to write every option of every command."""
    return [
        (path, option, spelling)
        for path, command in commands(typer.main.get_command(app))
        for option in command.params
        if isinstance(option, TyperOption)
        for spelling in option.opts
    ]


OPTIONS = options()
SINGLE = [(path, spelling) for path, option, spelling in OPTIONS if takes_one_value(option)]


def test_what_may_be_repeated_was_decided():
    assert len(SINGLE) > 30
    assert {(*path, spelling) for path, option, spelling in OPTIONS if option.multiple} == REPEATABLE


@pytest.mark.parametrize(
    ("path", "spelling"), SINGLE, ids=lambda words: words if isinstance(words, str) else " ".join(words)
)
def test_an_option_that_takes_one_value_is_refused_twice(path, spelling):
    for twice in ([spelling, "alice", spelling, "bob"], [spelling, "alice", spelling, "alice"]):
        error = CliRunner().invoke(app, [*path, *twice]).exception
        assert isinstance(error, CommandError)
        assert "is given 2 times and takes one value" in str(error)
        assert "\n" not in str(error) and "alice" not in str(error) and "bob" not in str(error)


def test_two_spellings_of_an_option_are_the_same_option():
    for twice in (["-w", "a", "--workspace", "b"], ["-wa", "--workspace=b"]):
        assert isinstance(CliRunner().invoke(app, ["status", *twice]).exception, CommandError)


@pytest.mark.parametrize("nested", [False, True])
def test_of_the_options_only_those_that_would_lose_something_are_refused(nested):
    """Tried on commands of every kind of option, in the group itself and below it."""
    outer, seen = App(), []
    inner = App() if nested else outer
    if nested:
        outer.add_typer(inner, name="inner")

    @inner.command()
    def first(
        many: Annotated[list[str], typer.Option()],
        one: str = "",
        plain: Annotated[bool, typer.Option("--plain")] = False,
        switch: bool = True,
    ) -> None:
        seen.append((one, many, plain, switch))

    @inner.command()
    def second() -> None:
        """There are two, so that each has its name."""

    path = ["inner", "first"] if nested else ["first"]
    for words in (["--one", "a", "--one", "b"], ["--switch", "--no-switch"], ["--one=a", "--one=a", "--help"]):
        assert isinstance(CliRunner().invoke(outer, [*path, *words]).exception, CommandError)
    assert seen == []
    fine = ["--many", "a", "--many", "b", "--plain", "--plain", "--one", "--one"]
    assert CliRunner().invoke(outer, [*path, *fine], catch_exceptions=False).exit_code == 0
    assert seen == [("--one", ["a", "b"], True, True)]
