from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from tests import tiny
from tru.models.graph import Inputs
from tru.testing import BackboneContract


class TestMgcn(BackboneContract):
    name = "mgcn"
    plain: ClassVar = {"contrast": 0.0, "regularisation": 0.1}

    def test_the_contrast_counts(self, data, inputs):
        module, batch = self.build(data, contrast=0.0), self.batch(data)
        assert self.build(data, contrast=1.0).loss(inputs, batch) > module.loss(inputs, batch)

    def test_the_contrast_has_the_gradient_of_the_contrast_over_everybody(self, data, inputs):
        params = {"contrast": 1.0, "temperature": 0.5}
        module, batch = self.build(data, **params), self.batch(data)

        def full():
            found = module.embed(inputs)
            behaviour, side = (
                functional.normalize(torch.cat([found.users, found.items]) if name is None else torch.cat(parts), dim=1)
                for name, parts in (("id", found.branches["id"]), ("side", found.branches["side"]))
            )
            total = self.full_loss(module, inputs, batch)
            for rows in (batch.users, batch.positives + len(data.users)):
                for part in torch.split(rows, batch.chunks):
                    logits = side[part] @ behaviour[part].T / 0.5
                    total = total + functional.cross_entropy(logits, torch.arange(len(part)), reduction="sum") / len(
                        rows
                    )
            return total

        loss = module.loss(inputs, batch)
        torch.testing.assert_close(loss, full(), rtol=1e-5, atol=1e-6)
        expected = self.gradients(module, full())
        for name, found in self.gradients(module, loss).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-6, msg=name)

    def test_contrastive_negatives_stay_within_their_group(self, data, inputs):
        module, batch = self.build(data, contrast=1.0), self.batch(data)
        whole = type(batch)(batch.users, batch.positives, batch.negatives, [len(batch.users)])
        assert module.loss(inputs, batch) < module.loss(inputs, whole)  # fewer negatives are easier

    @pytest.mark.parametrize("item_layers", [0, 1])
    def test_an_item_without_a_modality_gives_nothing_to_it(self, item_layers):
        data = tiny.by_hand("ab", "wxy", "aw ax bx by", present="wx")
        module, inputs = self.build(data, item_layers=item_layers), Inputs.of(data)
        _, (side,) = module.views(inputs)
        assert (side[len(data.users) + 2] == 0).all()
        assert (side[len(data.users) :][:2] != 0).any(dim=1).all()

    def test_a_single_modality_is_all_common(self, data):
        data = tiny.in_modalities(data, ("image",))
        module, inputs = self.build(data), Inputs.of(data)
        behaviour, (side,) = module.views(inputs)
        torch.testing.assert_close(module.fuse(behaviour, [side]), side / 2)

    def test_the_order_of_the_views_is_that_of_their_names(self, data, inputs):
        module = self.build(data)
        behaviour, sides = module.views(inputs)
        assert module.modalities == ("image", "text")
        assert not torch.allclose(module.fuse(behaviour, sides), module.fuse(behaviour, sides[::-1]))

    @pytest.mark.parametrize("layers", [0, 1, 3])
    def test_the_behaviour_view_is_the_mean_of_its_layers(self, data, inputs, layers):
        module = self.build(data, layers=layers)
        rows = torch.cat([module.users, module.items])
        graph = inputs.bipartite(torch.eye(len(rows)))
        expected = sum(torch.linalg.matrix_power(graph, k) @ rows for k in range(layers + 1)) / (layers + 1)
        torch.testing.assert_close(module.views(inputs)[0], expected)
