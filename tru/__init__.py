"""tru: makes a recommender forget, shows that it did, and only then lets it serve (arXiv 2604.02183).

::

    import tru

    data = tru.load("ratings.parquet")
    model = tru.fit(data, "lightgcn", seed=0)
    forgot = tru.forget(model, users=["u17"])
    print(tru.compare(model, forgot, tru.retrain(model, forgot.data, seeds=2)))

Each name is loaded when it is first used, so that ``import tru`` waits for neither torch nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tru.api import (
        backbones,
        compare,
        fit,
        forget,
        load,
        open_model,
        prepare,
        retrain,
        unlearners,
    )
    from tru.data.forget import ForgetSet
    from tru.data.interactions import Dataset
    from tru.data.prepare import Prepared
    from tru.elsewhere import wrap
    from tru.errors import DataError, ModelError, TruError, UnlearningError
    from tru.evaluation.comparison import Comparison
    from tru.evaluation.params import GateParams
    from tru.evaluation.verdict import Verdict
    from tru.fitted import Model

__version__ = "0.2.0.dev0"

_PLACES = {
    "Comparison": "tru.evaluation.comparison",
    "DataError": "tru.errors",
    "Dataset": "tru.data.interactions",
    "ForgetSet": "tru.data.forget",
    "GateParams": "tru.evaluation.params",
    "Model": "tru.fitted",
    "ModelError": "tru.errors",
    "Prepared": "tru.data.prepare",
    "TruError": "tru.errors",
    "UnlearningError": "tru.errors",
    "Verdict": "tru.evaluation.verdict",
    "backbones": "tru.api",
    "compare": "tru.api",
    "fit": "tru.api",
    "forget": "tru.api",
    "load": "tru.api",
    "open_model": "tru.api",
    "prepare": "tru.api",
    "retrain": "tru.api",
    "unlearners": "tru.api",
    "wrap": "tru.elsewhere",
}
"""Name -> the module that defines it."""

__all__ = [
    "Comparison",
    "DataError",
    "Dataset",
    "ForgetSet",
    "GateParams",
    "Model",
    "ModelError",
    "Prepared",
    "TruError",
    "UnlearningError",
    "Verdict",
    "__version__",
    "backbones",
    "compare",
    "fit",
    "forget",
    "load",
    "open_model",
    "prepare",
    "retrain",
    "unlearners",
    "wrap",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562), once."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not, and what the module has besides."""
    return sorted({*globals(), *__all__})


# Scripts inside models that version 0.1.0 stored import modules by their names of then.
__path__.append(f"{__path__[0]}/compatibility")
