from tests import tiny
from tests.contracts import UnlearnerContract
from tru.unlearning.base import UnlearnParams, make


class TestTru(UnlearnerContract):
    def make(self):
        return make(UnlearnParams(method="tru"), tiny.TRAIN)
