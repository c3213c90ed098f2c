"""Where a workspace's own and other places are that an erasure searches: what DVC, MLflow and links name.

Only addresses are looked at here; what lies there is read in :mod:`tru.ops.erasure.search.stores`.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tru.errors import RequestError
from tru.ops import identity
from tru.ops.workspace import Workspace


def is_searched(ws: Workspace, file: Path) -> bool:
    """Whether an erasure would search a file: it lies in the workspace, or where something in it leads."""
    config = dvc_config(ws)
    tops = [ws.root, *(target for _, target in links_out(ws.root))]
    tops += [Path(cache) for cache in [config.get("cache", {}).get("dir")] if cache]
    tops += [place for place in map(_folder, remotes(config).values()) if place is not None]
    tops += [place for place in map(identity.local_path, identity.noted(ws.root / "mlflow.db")) if place is not None]
    real = file.resolve()
    return any(real.is_relative_to(top.resolve()) for top in tops)


def refuse_searched(ws: Workspace, file: Path) -> None:
    """Refuse a list of subjects that the erasure itself would find.

    Raises:
        RequestError: it lies where the erasure searches.
    """
    if is_searched(ws, file):
        raise RequestError(
            f"{file} lies where the erasure searches (in the workspace, or where something in it leads): it would find "
            "the list, and the batch would end as not erased. Nothing was filed. Move it out of there, then import it."
        )


def links_out(root: Path) -> Iterator[tuple[str, Path]]:
    """Links in a folder that lead out of it, virtual environments left out; each with where it leads."""
    for at, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not (Path(at, name) / "pyvenv.cfg").exists())
        for entry in (Path(at, name) for name in sorted([*folders, *files])):
            if entry.is_symlink() and not (target := entry.resolve()).is_relative_to(root):
                yield str(entry.relative_to(root)), target


def dvc_config(ws: Workspace) -> dict[str, dict[str, str]]:
    """DVC's settings, the more special ones last; paths in them are made absolute."""
    mine = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc"
    files = [
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or mine) / "config",
        ws.root / ".dvc" / "config",
        ws.root / ".dvc" / "config.local",
    ]
    merged: dict[str, dict[str, str]] = {}
    for file in files:
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, configparser.Error):
            continue
        for section in parser.sections():
            values = {key: (value or "").strip().strip("\"'") for key, value in parser.items(section)}
            for key in ("url", "dir"):
                if values.get(key) and "://" not in values[key]:
                    values[key] = os.path.normpath(file.parent / Path(values[key]).expanduser())
            merged.setdefault(section.strip("'"), {}).update(values)
    return merged


def remotes(config: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Remote name -> its settings; ``remote://other/path`` is followed."""
    found = {
        section.split('"')[1]: dict(values)
        for section, values in config.items()
        if section.startswith('remote "') and values.get("url")
    }
    for values in found.values():
        parts = urlsplit(values["url"])
        if parts.scheme == "remote" and parts.netloc in found:
            base = found[parts.netloc]
            values.update({**base, **values, "url": base["url"].rstrip("/") + parts.path})
    return found


def _folder(remote: Mapping[str, str]) -> Path | None:
    """The folder of a remote on this machine; None if it is elsewhere."""
    parts = urlsplit(remote["url"])
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(remote["url"])
