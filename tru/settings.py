"""``params.yaml``, read once, at the edge, into one frozen object; inner code receives its own block."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from tru.baseline import BaselineParams
from tru.data.params import DataParams, ForgetParams
from tru.errors import WorkspaceError
from tru.evaluation.params import GateParams
from tru.models.params import BACKBONES, ModelParams, TrainParams
from tru.params import Params
from tru.release.params import ErasureParams
from tru.requests.lifecycle import RequestParams
from tru.unlearning.params import UNLEARNERS, UnlearnParams
from tru.workspace import Workspace
from tru.yaml_file import read_yaml


class Settings(Params):
    """All of ``params.yaml``."""

    data: DataParams = DataParams()
    """The data set."""
    model: ModelParams = ModelParams()
    """The backbone."""
    train: TrainParams = TrainParams()
    """The training loop."""
    forget: ForgetParams = ForgetParams()
    """The simulated batch of the research loop (``dvc repro``)."""
    unlearn: UnlearnParams = UnlearnParams()
    """How to forget."""
    gate: GateParams = GateParams()
    """When a candidate may serve."""
    baseline: BaselineParams = BaselineParams()
    """The weekly baseline and its rehearsal."""
    requests: RequestParams = RequestParams()
    """How long a subject may wait."""
    erasure: ErasureParams = ErasureParams()
    """What becomes of everything that knew the forgotten."""


def load_settings(workspace: Workspace) -> Settings:
    """Read and check ``params.yaml``.

    Raises:
        WorkspaceError: it cannot be read, or keys or values are wrong; the message names all of them, on one line.
    """
    try:
        settings = Settings.model_validate(read_yaml(workspace.params))
    except ValidationError as error:
        faults = _faults(error)
    else:
        faults = _unknown_names(settings)
    if faults:
        raise WorkspaceError(f"{workspace.params}: {'; '.join(faults)}. Correct it and run again.")
    return settings


def _faults(error: ValidationError) -> list[str]:
    """What is wrong, one sentence per key."""
    faults: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        key, within, block = _place([str(part) for part in detail["loc"]])
        message = within + detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "model_type":
            message = f"{within}this block takes keys with values"
        elif detail["type"] == "extra_forbidden" and not within:
            message = f"not permitted, as there is no such key ({_meant(key, block)})"
        said = faults.setdefault(key, [])
        said += [message] if message not in said else []
    return [f"{key}: {' or '.join(messages)}" if key else " or ".join(messages) for key, messages in faults.items()]


def _place(parts: list[str]) -> tuple[str, str, type[Params]]:
    """The dotted key that an error is about, where in its value it lies, and the class of the block that holds the key.

    Where a value may be of several kinds, pydantic's place goes on with the kind it tried, which says nothing to a
    person.
    """
    block: type[Params] = Settings
    for at, part in enumerate(parts):
        if part not in block.model_fields:
            break
        kinds = _kinds(block.model_fields[part].annotation)
        inner = [kind for kind in kinds if issubclass(kind, Params)]
        if inner and len(kinds) > 1:
            return ".".join(parts[: at + 1]), "".join(f"{deeper}: " for deeper in parts[at + 2 :]), block
        if not inner:
            break
        block = inner[0]
    return ".".join(parts), "", block


def _kinds(annotation: Any) -> list[type]:  # noqa: ANN401 - whatever a type annotation may be
    """The classes that an annotation allows."""
    parts = get_args(annotation)
    return [annotation] if isinstance(annotation, type) and not parts else [k for part in parts for k in _kinds(part)]


def _meant(key: str, block: type[Params]) -> str:
    """The known key that is spelled most alike, or the one of that very name in another block; else all there are."""
    place, _, name = key.rpartition(".")
    if like := get_close_matches(name, block.model_fields, n=1):
        return f"did you mean {'.'.join(filter(None, (place, like[0])))}?"
    elsewhere = [other for other, field in Settings.model_fields.items() if name in _fields_of(field.annotation)]
    return f"did you mean {elsewhere[0]}.{name}?" if elsewhere else f"there are {', '.join(block.model_fields)}"


def _fields_of(annotation: Any) -> list[str]:  # noqa: ANN401 - whatever a type annotation may be
    return [name for kind in _kinds(annotation) if issubclass(kind, Params) for name in kind.model_fields]


def _unknown_names(settings: Settings) -> list[str]:
    """Names of a backbone or an unlearner that there is not."""
    chosen = {
        "model.name": ("backbone", settings.model.name, sorted(BACKBONES)),
        "unlearn.method": ("unlearner", settings.unlearn.method, list(UNLEARNERS)),
    }
    faults = []
    for key, (what, name, known) in chosen.items():
        if name not in known:
            like = get_close_matches(name, known, n=1)
            meant = f"did you mean {like[0]}? " if like else ""
            faults.append(f"{key}: no {what} is called {name!r} ({meant}there are {', '.join(known)})")
    return faults
