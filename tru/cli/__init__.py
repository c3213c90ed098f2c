"""The command line: ``tru …``. Nothing heavy is imported until a command needs it."""

from tru.cli.main import main

__all__ = ["main"]
