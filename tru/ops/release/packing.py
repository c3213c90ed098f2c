"""A model directory as MLflow stores it: our script, the arrays, the signature. No pickle."""

from __future__ import annotations

import shutil
from importlib.metadata import version as installed
from pathlib import Path

from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

ARTIFACT = "model"  # the name serving_model.py asks for
_SCRIPT = Path(__file__).with_name("serving_model.py")
# k is "any": as "long", MLflow would turn 2.5 into 2 and true into 1 before our own check could refuse them; as
# "double", it would refuse a frame of whole numbers. (With "any" it reads no CSV: tru.ops.release.serving_input does.)
_ANY = AnyType()  # type: ignore[no-untyped-call]
_SIGNATURE = ModelSignature(inputs=Schema([ColSpec("string", "user_id"), ColSpec(_ANY, "k", required=False)]))


def pack(model_dir: Path, scratch: Path, run_id: str, model: LoggedModel) -> Path:
    """The folder MLflow stores. Requirements are given, so MLflow need not guess them.

    Args:
        model_dir: with ``serving.npz``.
        scratch: an empty folder to work in.
        run_id: of the run that logs it.
        model: its row in MLflow.
    """
    named = scratch / ARTIFACT  # the stored folder takes its name from here, whatever the directory is called
    shutil.copytree(model_dir, named)
    packed = scratch / "packed"
    location = model.artifact_location
    save_model(
        str(packed),
        mlflow_model=Model(location, run_id, model_uuid=model.model_id, model_id=model.model_id),
        python_model=str(_SCRIPT),
        artifacts={ARTIFACT: str(named)},
        signature=_SIGNATURE,
        input_example={"user_id": ["a-user-id"], "k": [20]},
        # Not "tru": it is installed where this runs, and a name on a public index may be a stranger's.
        pip_requirements=[f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "pandas", "sqlalchemy")],
    )
    return packed
