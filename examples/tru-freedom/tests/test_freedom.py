import numpy as np
import torch

from tru.models.graph import Inputs, bipartite_product
from tru.testing import BackboneContract, tiny


class TestFreedom(BackboneContract):
    name = "freedom"
    plain = {"prune": 0.0, "modal": 0.0, "regularisation": 0.1}

    def test_an_epoch_keeps_its_share_of_the_edges_and_rather_those_of_low_degree(self, data, inputs):
        module = self.build(data, prune=0.75)
        kept = [module.kept(inputs, epoch) for epoch in range(40)]
        assert {len(edges) for edges in kept} == {round(0.25 * len(inputs.edges))}
        assert not np.array_equal(kept[0], kept[1]) and np.array_equal(kept[0], module.kept(inputs, 0))
        users, items = inputs.edges.T
        degrees = np.bincount(users)[users] * np.bincount(items)[items]
        chosen = np.bincount(np.concatenate(kept), minlength=len(degrees))
        low, high = degrees <= np.quantile(degrees, 0.25), degrees >= np.quantile(degrees, 0.75)
        assert chosen[low].mean() > 1.2 * chosen[high].mean()

    def test_edges_that_stay_are_drawn_alike_without_those_that_go(self, data):
        fewer = tiny.without_some_edges(data, 50)
        kept = []
        for part in (data, fewer):
            inputs = Inputs.of(part)
            edges = inputs.edges[self.build(part).kept(inputs, epoch=3)]
            kept.append(set(map(tuple, edges.tolist())))
        both = kept[0] & kept[1]
        assert len(both) > 0.9 * len(kept[1])

    def test_training_sees_the_epoch_s_graph_and_serving_all_of_it(self, data, inputs):
        module = self.build(data, prune=0.5)
        part = bipartite_product(inputs.edges[module.kept(inputs, 2)], inputs.n_users, inputs.n_items)
        rows = torch.cat([module.users, module.items])
        torch.testing.assert_close(module.pruned(inputs, 2)(rows), part(rows))
        users, items = module.propagate(inputs, inputs.bipartite)
        found = module.embed(inputs)
        assert torch.equal(found.users, users) and torch.equal(found.items, items)
        assert not torch.allclose(module.propagate(inputs, part)[0], users)

    def test_the_shares_of_the_modalities_sum_to_one(self, data, inputs):
        module = self.build(data, shares={"image": 3.0})
        assert module.shares == {"image": 0.75, "text": 0.25}
        alone = self.build(tiny.in_modalities(data, ("image",)), shares={"image": 3.0})
        torch.testing.assert_close(alone.resembling(inputs), inputs.item_from_items["image"](alone.items))

    def test_the_settings_of_a_modality_that_is_gone_go_with_it(self, data):
        params = self.build(data, shares={"image": 0.1, "text": 0.9}).params
        assert params.without_modalities({"image"}).shares == {"text": 0.9}
