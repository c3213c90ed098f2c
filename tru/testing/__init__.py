"""For those who write a backbone or an unlearner: the contract that each must keep, as tests, and a small world.

A test file is three lines::

    from tru.testing import BackboneContract

    class TestMine(BackboneContract):
        name = "mine"

It needs pytest, which the rest of tru does not.
"""

import pytest

pytest.register_assert_rewrite("tru.testing.backbones", "tru.testing.unlearners")

from tru.testing.backbones import BackboneContract  # noqa: E402 - pytest must know of them before they are imported
from tru.testing.unlearners import UnlearnerContract  # noqa: E402 - the same

__all__ = ["BackboneContract", "UnlearnerContract"]
