from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from tests import tiny
from tests.tiny import less
from tru.errors import ModelError
from tru.models.base import Batch
from tru.models.graph import Inputs
from tru.models.miggt import ROWS, TRAINING
from tru.models.params import ModelParams
from tru.testing import BackboneContract


def diffusion(graph, hops, alpha):
    """The matrix that K hops of MGDCF apply: (1 - alpha)^K A^K + alpha sum_{k < K} (1 - alpha)^k A^k."""
    powers = [torch.linalg.matrix_power((1 - alpha) * graph, k) for k in range(hops + 1)]
    return powers[-1] + alpha * sum(powers[:-1], torch.zeros_like(graph))


class TestMigGt(BackboneContract):
    name = "miggt"
    plain: ClassVar = {"unsmooth": 0.0, "attention": 0.0, "dropout": 0.0, "negatives": 1, "regularisation": 0.1}

    @pytest.mark.parametrize("hops", [{}, {"id": 0, "text": 3}, {"id": 1, "image": 4, "text": 0}, {"id": 5}])
    def test_every_branch_has_hops_of_its_own(self, data, inputs, hops):
        module = self.build(data, hops=hops, attention=0.0, features=0.5, restart=0.2, layers=2)
        graph = inputs.bipartite(torch.eye(inputs.n_users + inputs.n_items))
        found = module.embed(inputs)
        starts = {"id": ROWS * torch.cat([module.users, module.items])}
        for m in ("image", "text"):
            encoded = 0.5 * module.encoders[m](inputs.features[m])
            starts[m] = torch.cat([torch.zeros(inputs.n_users, 8), encoded])
        expected = {b: diffusion(graph, hops.get(b, 2), 0.2) @ x for b, x in starts.items()}
        for branch, x in expected.items():
            torch.testing.assert_close(torch.cat(found.branches[branch]), x, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat([found.users, found.items]), sum(expected.values()), rtol=1e-4, atol=1e-5)
        # In training the branches travel together.
        torch.testing.assert_close(module.propagate(inputs, starts), sum(expected.values()), rtol=1e-4, atol=1e-5)

    def test_hops_of_a_branch_that_there_is_not_are_refused(self, data):
        with pytest.raises(ModelError, match=r"model\.hops: no branch is called 'picture'. There are: id, image, text"):
            self.build(data, hops={"id": 4, "picture": 2})

    def test_its_own_defaults_hold_where_nothing_is_said(self):
        assert ModelParams(name="miggt").regularisation == 1e-2
        assert ModelParams(name="miggt", regularisation=1e-3).regularisation == 1e-3
        assert ModelParams().regularisation == ModelParams(name="nobody").regularisation == 1e-4
        stored = ModelParams(name="miggt").model_dump()
        assert ModelParams(**stored).model_dump() == stored

    def test_a_group_is_a_node_and_others_of_its_kind_with_edges(self, data, inputs):
        groups = self.build(data, samples=6).groups(inputs, TRAINING, 0)
        assert groups.shape == (inputs.n_users + inputs.n_items, 7)
        assert torch.equal(groups[:, 0], torch.arange(len(groups)))
        users, items = groups[: inputs.n_users], groups[inputs.n_users :]
        assert users.max() < inputs.n_users <= items.min()
        connected = torch.cat([torch.from_numpy(crowd.connected) for crowd in inputs.crowds])
        assert connected[groups[:, 1:]].all()
        other = self.build(data, samples=6).groups(inputs, TRAINING, 1)
        assert (groups[:, 1:] == other[:, 1:]).float().mean() < 0.1

    def test_without_somebody_only_groups_that_had_them_change(self, data, inputs):
        cut, users, items = less(data, users=[3], items=[5])
        stay = torch.cat([torch.from_numpy(users), torch.from_numpy(items) + inputs.n_users])
        before = self.build(data).groups(inputs, TRAINING, 2)[stay]
        after = self.build(cut).groups(Inputs.of(cut), TRAINING, 2)
        lonely = ~torch.cat([torch.from_numpy(crowd.connected) for crowd in Inputs.of(cut).crowds])
        same = (stay[after] == before).all(dim=1)
        gone = torch.isin(before, torch.tensor([3, 5 + inputs.n_users, *stay[lonely].tolist()])).any(dim=1)
        assert same[~gone].all()
        assert 0 < (~same).sum() < 0.4 * len(same)

    def test_the_loss_is_that_of_the_whole_transformer(self, data, inputs):
        """Every node of every group attends to its group; the pairs' scores are read off."""
        module = self.build(data, unsmooth=0.7, regularisation=0.1, negatives=3, dropout=0.3, attention=0.4)
        batch = replace(self.batch(data), epoch=2, number=1)
        h, groups = module.propagate(inputs, module.starts(inputs, batch)), module.groups(inputs, TRAINING, 2)
        members = h[groups]
        logits = module.query(members) @ module.key(members).transpose(1, 2) / 8**0.5
        z = 0.6 * members + 0.4 * torch.softmax(logits, dim=2) @ members
        at = inputs.n_users
        user, good = z[batch.users, 0], z[batch.positives + at, 0]
        bad = z[module._negatives(inputs, batch) + at, 0]
        score, rivals = (user * good).sum(1), torch.einsum("bd,bnd->bn", user, bad)
        ranking = torch.log1p(torch.exp(rivals - score[:, None]).sum(1)).mean()
        others = torch.einsum("bd,bcd->bc", user, z[batch.positives + at, 1:])
        unsmooth = torch.log1p(torch.exp(others - score[:, None]).sum(1)).mean()
        square = (user.square().sum() + good.square().sum() + bad[:, 0].square().sum()) / len(user)
        full, loss = ranking + 0.7 * unsmooth + 0.1 * square, module.loss(inputs, batch)
        torch.testing.assert_close(loss, full)
        expected = self.gradients(module, full)
        for name, found in self.gradients(module, loss).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-6, msg=name)

    def test_draws_are_kept_for_an_epoch_and_renewed_in_the_next(self, data, inputs):
        module, batch = self.build(data), self.batch(data)
        first = module.loss(inputs, batch)
        assert torch.equal(
            module.loss(inputs, replace(batch, number=1)), first
        )  # without dropout nothing else is drawn
        assert module.loss(inputs, replace(batch, epoch=1)) != first
        assert torch.equal(module.loss(inputs, batch), first)
        dropped = self.build(data, dropout=0.5)
        assert dropped.loss(inputs, replace(batch, number=1)) != dropped.loss(inputs, batch)

    def test_further_negatives_follow_their_pair(self, data, inputs):
        module, batch = self.build(data, negatives=4), replace(self.batch(data), epoch=3)
        found = module._negatives(inputs, batch)
        assert found.shape == (len(batch.users), 4)
        assert torch.equal(found[:, 0], batch.negatives)
        half = Batch(batch.users[::2], batch.positives[::2], batch.negatives[::2], [], epoch=3)
        assert torch.equal(module._negatives(inputs, half), found[::2])
        assert not torch.equal(module._negatives(inputs, replace(batch, epoch=4))[:, 1:], found[:, 1:])

    def test_an_item_without_a_modality_gives_nothing_to_it(self):
        data = tiny.by_hand("ab", "wxy", "aw ax bx by", present="wx")
        module = self.build(data)
        with torch.no_grad():
            module.encoders["image"][-1].bias += 1.0
        start = module.starts(Inputs.of(data))["image"]
        assert (start[[0, 1, 4]] == 0).all()
        assert (start[2:4] != 0).any(dim=1).all()

    def test_attention_moves_vectors_and_more_of_it_makes_them_alike(self, data, inputs):
        def alike(share):
            x = self.build(data, attention=share).embed(inputs).items
            return functional.cosine_similarity(x, x.mean(0, keepdim=True)).mean()

        assert alike(0.0) < alike(0.3) < alike(0.9)
