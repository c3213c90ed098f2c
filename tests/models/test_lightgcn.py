from typing import ClassVar

import pytest
import torch

from tests import tiny
from tru.models.graph import Inputs
from tru.testing import BackboneContract


class TestLightGcn(BackboneContract):
    name = "lightgcn"
    plain: ClassVar = {"regularisation": 0.1}
    reads_features = False

    def full_loss(self, module, inputs, batch):
        """Its L2 is of the rows, not of the vectors (eq. 15)."""
        found = module.embed(inputs)
        user, good, bad = found.users[batch.users], found.items[batch.positives], found.items[batch.negatives]
        ranking = -torch.nn.functional.logsigmoid((user * good).sum(1) - (user * bad).sum(1)).mean()
        rows = module.users[batch.users], module.items[batch.positives], module.items[batch.negatives]
        return ranking + module.params.regularisation * sum(x.square().sum() for x in rows) / len(user)

    @pytest.mark.parametrize("layers", [0, 1, 3])
    def test_a_vector_is_the_mean_of_its_layers(self, data, inputs, layers):
        module = self.build(data, layers=layers)
        rows = torch.cat([module.users, module.items])
        graph = inputs.bipartite(torch.eye(len(rows)))
        expected = sum(torch.linalg.matrix_power(graph, k) @ rows for k in range(layers + 1)) / (layers + 1)
        found = module.embed(inputs)
        torch.testing.assert_close(torch.cat([found.users, found.items]), expected)

    def test_by_hand(self):
        data = tiny.by_hand("ab", "xy", "ax ay bx")
        module = self.build(data, layers=1)
        a, b = module.users.detach()
        x, y = module.items.detach()
        found = module.embed(Inputs.of(data))
        torch.testing.assert_close(found.users[0], (a + x / 2 + y / 2**0.5) / 2)  # 1 / sqrt(2 * 2) and 1 / sqrt(2 * 1)
        torch.testing.assert_close(found.items[0], (x + a / 2 + b / 2**0.5) / 2)

    def test_features_are_no_matter(self, data, inputs):
        bare = tiny.in_modalities(data, ())
        assert torch.equal(self.build(data).embed(inputs).users, self.build(bare).embed(Inputs.of(bare)).users)
        assert {name for name, _ in self.build(data).named_parameters()} == {"users", "items"}
