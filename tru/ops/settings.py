"""``params.yaml``, read once, at the edge, into one frozen object; inner code receives its own block."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import SerializeAsAny, ValidationError, field_validator

from tru.data.params import DataParams, ForgetParams
from tru.errors import TruError, WorkspaceError
from tru.evaluation.params import BaselineParams, GateParams
from tru.models.params import BACKBONES, BackboneParams, ModelParams, TrainParams, model_params_class
from tru.ops.release.params import ErasureParams
from tru.ops.requests.lifecycle import RequestParams
from tru.ops.workspace import Workspace
from tru.ops.yaml_file import read_yaml
from tru.params import Params
from tru.unlearning.params import UNLEARNERS, UnlearnerParams, UnlearnParams, unlearn_params_class


class Settings(Params):
    """All of ``params.yaml``."""

    data: DataParams = DataParams()
    """The data set."""
    model: SerializeAsAny[BackboneParams] = ModelParams()
    """The backbone; its own class says which keys there are."""
    train: TrainParams = TrainParams()
    """The training loop."""
    forget: ForgetParams = ForgetParams()
    """The simulated batch of the research loop (``dvc repro``)."""
    unlearn: SerializeAsAny[UnlearnerParams] = UnlearnParams()
    """How to forget; the method's own class says which keys there are."""
    gate: GateParams = GateParams()
    """When a candidate may serve."""
    baseline: BaselineParams = BaselineParams()
    """The weekly baseline and its rehearsal."""
    requests: RequestParams = RequestParams()
    """How long a subject may wait."""
    erasure: ErasureParams = ErasureParams()
    """What becomes of everything that knew the forgotten."""

    @field_validator("model", mode="before")
    @classmethod
    def _by_its_backbone(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
        return given if isinstance(given, BackboneParams) else _model_class(given).model_validate(given)

    @field_validator("unlearn", mode="before")
    @classmethod
    def _by_its_method(cls, given: Any) -> Any:  # noqa: ANN401 - the same
        return given if isinstance(given, UnlearnerParams) else _unlearn_class(given).model_validate(given)


Blocks = dict[str, type[Params]]
"""Block of ``params.yaml`` -> the class of its settings."""


def _model_class(given: Any) -> type[BackboneParams]:  # noqa: ANN401 - whatever a person wrote
    """The class for what a person wrote as block ``model``."""
    return model_params_class(given.get("name") if isinstance(given, dict) else None)


def _unlearn_class(given: Any) -> type[UnlearnerParams]:  # noqa: ANN401 - whatever a person wrote
    """The same for block ``unlearn``."""
    return unlearn_params_class(given.get("method") if isinstance(given, dict) else None)


def _blocks(words: dict[str, Any]) -> Blocks:
    """All blocks, those of plug-ins by the class of the plug-in that is named."""
    plain = {name: _kinds(field.annotation)[0] for name, field in Settings.model_fields.items()}
    return plain | {"model": _model_class(words.get("model")), "unlearn": _unlearn_class(words.get("unlearn"))}


def load_settings(workspace: Workspace) -> Settings:
    """Read and check ``params.yaml``.

    Raises:
        WorkspaceError: it cannot be read, or keys or values are wrong, and the message names all of them, on one line;
            or a backbone or an unlearner of another package cannot be loaded.
    """
    words = read_yaml(workspace.params)
    settings, faults = None, _unknown_names(words)
    try:
        blocks = _blocks(words)
        settings = Settings.model_validate(words)
    except ValidationError as error:
        # Which keys there are depends on the name: with a wrong one, nothing else of that block can be judged.
        unjudged = tuple(key.partition(".")[0] + "." for key in faults)
        faults |= {key: fault for key, fault in _faults(error, blocks).items() if not key.startswith(unjudged)}
    except TruError as error:
        raise WorkspaceError(f"{workspace.params}: {error}") from error
    if faults or settings is None:
        told = "; ".join(f"{key}: {fault}" if key else fault for key, fault in faults.items())
        raise WorkspaceError(f"{workspace.params}: {told}. Correct it and run again.")
    return settings


def _faults(error: ValidationError, blocks: Blocks) -> dict[str, str]:
    """What is wrong, one sentence per key."""
    faults: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        key, within, block = _place([str(part) for part in detail["loc"]], blocks)
        message = within + detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "model_type":
            message = f"{within}this block takes keys with values"
        elif detail["type"] == "extra_forbidden" and not within:
            message = f"not permitted, as there is no such key ({_meant(key, block, blocks)})"
        said = faults.setdefault(key, [])
        said += [message] if message not in said else []
    return {key: " or ".join(messages) for key, messages in faults.items()}


def _place(parts: list[str], blocks: Blocks) -> tuple[str, str, type[Params]]:
    """The dotted key that an error is about, where in its value it lies, and the class of the block that holds the key.

    Where a value may be of several kinds, pydantic's place goes on with the kind it tried, which says nothing to a
    person.
    """
    block: type[Params] = Settings
    for at, part in enumerate(parts):
        if part not in block.model_fields:
            break
        kinds = [blocks[part]] if block is Settings else _kinds(block.model_fields[part].annotation)
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


def _meant(key: str, block: type[Params], blocks: Blocks) -> str:
    """The known key that is spelled most alike, or the one of that very name in another block; else all there are."""
    place, _, name = key.rpartition(".")
    if like := get_close_matches(name, block.model_fields, n=1):
        return f"did you mean {'.'.join(filter(None, (place, like[0])))}?"
    elsewhere = [other for other, kind in blocks.items() if name in kind.model_fields]
    return f"did you mean {elsewhere[0]}.{name}?" if elsewhere else f"there are {', '.join(block.model_fields)}"


def _unknown_names(words: dict[str, Any]) -> dict[str, str]:
    """Names of a backbone or an unlearner that there is not, by their keys. A dotted path is looked up elsewhere."""
    faults = {}
    for registry in (BACKBONES, UNLEARNERS):
        block, _, key = registry.key.partition(".")
        given = words.get(block)
        name = given.get(key) if isinstance(given, dict) else None
        if isinstance(name, str) and name not in registry and not registry.is_path(name):
            like = get_close_matches(name, registry, n=1)
            meant = f"did you mean {like[0]}? " if like else ""
            faults[registry.key] = f"no {registry.what} is called {name!r} ({meant}there are {', '.join(registry)})"
    return faults
