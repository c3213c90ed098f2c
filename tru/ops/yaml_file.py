"""A YAML file that a person writes: any editor's line ends and byte order mark, and errors that name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tru.errors import WorkspaceError


class _Loader(yaml.SafeLoader):
    """The safe loader; a key written twice is an error and not a guess."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """The blocks of a file; empty if there is nothing in it.

    Raises:
        WorkspaceError: it cannot be read, is no YAML, or holds something else than keys with values.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        words = yaml.load(text, _Loader)
    except OSError as error:
        raise WorkspaceError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise WorkspaceError(f"{file} cannot be read: it is not UTF-8. Save it as UTF-8 and run again.") from None
    except yaml.YAMLError as error:
        raise WorkspaceError(f"{file} cannot be read: {_problem(error, text)}. Correct it and run again.") from None
    if words is not None and not isinstance(words, dict):
        raise WorkspaceError(f"{file} cannot be read: it holds no keys with values. Correct it and run again.")
    return words or {}


def _problem(error: yaml.YAMLError, text: str) -> str:
    """What is wrong, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    at = error.problem_mark.line
    line = [*text.splitlines(), ""][min(at, len(text.splitlines()))]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"line {at + 1} is indented with a tab; YAML takes blanks only"
    if "'\\t'" in str(error.problem):
        return f"line {at + 1} has a tab where YAML takes blanks only"
    return f"line {at + 1}: {error.problem}"
