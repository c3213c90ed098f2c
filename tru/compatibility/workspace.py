"""The workspace, where it stood in version 0.1.0."""

from tru.ops.workspace import Workspace

__all__ = ["Workspace"]
