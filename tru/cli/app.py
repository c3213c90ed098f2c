"""The kind of `typer.Typer` that every command of ``tru`` belongs to: an option that takes one value is given once.

The parser underneath keeps the last of several values and says nothing: ``--user u-1 --user u-2`` would file ``u-2``
alone. Options that take several values, and bare flags such as ``--json``, may be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from tru.errors import CommandError

if TYPE_CHECKING:
    from typer._click import Context


Run = TypeVar("Run", bound=Callable[..., Any])


class App(typer.Typer):
    """Commands, each of which refuses an option that is given twice and takes one value."""

    def __init__(self, order: Sequence[str] = (), **settings: Any) -> None:  # noqa: ANN401 - what `typer.Typer` takes
        """Make a group of commands.

        Args:
            order: names of commands in the order in which the help lists them; all others come after, as registered.
            settings: whatever `typer.Typer` takes.
        """
        super().__init__(cls=type("_Ordered", (_Group,), {"order": tuple(order)}), **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Run], Run]:  # noqa: ANN401 - the same
        """See `typer.Typer.command`."""
        return super().command(name, cls=_Command, **settings)


class _Command(TyperCommand):
    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        _refuse_repetition(self, ctx, args)
        return super().parse_args(ctx, args)


class _Group(TyperGroup):
    order: ClassVar[tuple[str, ...]] = ()

    def list_commands(self, ctx: Context) -> list[str]:
        names = super().list_commands(ctx)
        first = [name for name in self.order if name in names]
        return first + [name for name in names if name not in first]

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        _refuse_repetition(self, ctx, args)
        return super().parse_args(ctx, args)


def _refuse_repetition(command: TyperCommand | TyperGroup, ctx: Context, args: list[str]) -> None:
    """Refuse a command line of which a value would be lost.

    Raises:
        CommandError: an option that takes one value is given more than once; the values are not repeated.
    """
    if ctx.resilient_parsing:  # the shell asks for completions; nothing will run
        return
    # The parser names each option as often as it meets it; it takes the list apart, so it gets its own.
    _, _, met = command.make_parser(ctx).parse_args(args=list(args))
    for option, times in Counter(met).items():
        if times > 1 and isinstance(option, TyperOption) and takes_one_value(option):
            raise CommandError(
                f"{option.opts[0]} is given {times} times and takes one value, so nothing was done. "
                f"`{ctx.command_path} --help` says which options may be repeated."
            )


def takes_one_value(option: TyperOption) -> bool:
    """Whether of several values of this option all but the last would be lost."""
    is_plain_flag = option.is_flag and not option.secondary_opts
    return not (option.multiple or option.count or is_plain_flag)
