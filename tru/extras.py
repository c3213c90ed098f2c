"""The extras of tru, ``pip install "tru[ops]"`` and the like: which package each brings, and what to say without it.

The library itself, that is data, models, training, unlearning and evaluation, needs none of them.
"""

from __future__ import annotations

from importlib.util import find_spec

from tru.errors import MissingExtra

_PACKAGES = {
    "ops": (
        *("prefect", "mlflow", "dvc", "great_expectations", "sqlalchemy", "cryptography", "jinja2", "matplotlib"),
        *("psutil", "fastapi"),
    ),
    "s3": ("boto3", "botocore", "dvc_s3"),
}


def explained(command: str, error: ModuleNotFoundError) -> MissingExtra | None:
    """The error for a person, if what could not be imported comes with an extra; else None.

    Args:
        command: what was typed, such as ``tru up``.
        error: of the import.
    """
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in _PACKAGES.items() if package in packages), None)
    return _missing(command, extra, package) if extra else None


def require(command: str, *packages: str) -> None:
    """See that packages are installed which are run as commands and not imported.

    Raises:
        MissingExtra: one is not.
    """
    for extra, brought in _PACKAGES.items():
        for package in packages:
            if package in brought and find_spec(package) is None:
                raise _missing(command, extra, package)


def _missing(command: str, extra: str, package: str) -> MissingExtra:
    return MissingExtra(
        f'`{command}` needs the extra `{extra}`: pip install "tru[{extra}]" ({package} is not installed).'
    )
