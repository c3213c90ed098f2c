"""Reading what is asked of a server, where it stood before version 0.2.0 was released."""

from tru.ops.release.serving_input import install

__all__ = ["install"]
