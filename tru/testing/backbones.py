"""The contract of every backbone, as tests that a package of its own can inherit."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from tru import randomness
from tru.data.prepare import Prepared
from tru.errors import ModelError
from tru.models.base import Backbone, Batch, Rows, builder
from tru.models.graph import Inputs, Product
from tru.models.params import model_params
from tru.models.trained import TrainedModel
from tru.testing import tiny
from tru.training import fit


class BackboneContract:
    """What every backbone must do. Subclass it, name the class ``Test…``, and say in ``name`` which backbone.

    Where the objective is not a ranking loss (BPR) plus ``regularisation`` times the squared length of the batch's
    vectors, ``plain`` holds settings under which it is, or ``full_loss`` is overridden.
    """

    name: ClassVar[str] = ""
    """As in ``model.name``: the name of an entry point, or a dotted path ``package.module:Name``."""
    reads_features: ClassVar[bool] = True
    """False where modalities are ignored. Else the layers of a modality have its name within theirs."""
    plain: ClassVar[dict[str, Any]] = {}
    """Settings that leave the ranking loss and the regularisation alone in the objective."""

    def build(self, data: Prepared, *, seed: int = 0, **params: Any) -> Backbone:  # noqa: ANN401 - settings of any kind
        """A fresh module of width 8, whose rows are a function of ids and seed."""
        rows = Rows(randomness.table(data.users, 8, 0.5, seed), randomness.table(data.items, 8, 0.5, seed + 1))
        widths = {m: data.features[m].shape[1] for m in data.modalities}
        settings = model_params({"name": self.name, "width": 8, **params})
        return builder(self.name)(params=settings, widths=widths, rows=rows, seed=seed)

    def batch(self, data: Prepared, size: int = 256) -> Batch:
        """The first pairs, in two groups, each with some item as negative."""
        users, positives = (torch.from_numpy(column.copy()) for column in data.edges[:size].T)
        negatives = (positives * 7 + users + 1) % len(data.items)
        return Batch(users, positives, negatives, [size // 2, len(users) - size // 2])

    def gradients(self, module: Backbone, loss: Tensor) -> dict[str, Tensor]:
        """Gradients of a loss by the name of the parameter, for those that it depends on."""
        found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
        return {name: g for (name, _), g in zip(module.named_parameters(), found, strict=True) if g is not None}

    def full_loss(self, module: Backbone, inputs: Inputs, batch: Batch) -> Tensor:
        """The objective under :attr:`plain`, taken from the vectors of everybody."""
        found = module.embed(inputs)
        user, good, bad = found.users[batch.users], found.items[batch.positives], found.items[batch.negatives]
        ranking = -F.logsigmoid((user * good).sum(1) - (user * bad).sum(1)).mean()
        square = torch.stack([vectors.square().sum() for vectors in (user, good, bad)]).sum() / len(user)
        return ranking + getattr(module.params, "regularisation", 0.0) * square

    @pytest.fixture
    def data(self) -> Prepared:
        """The small world."""
        return tiny.prepared()

    @pytest.fixture
    def inputs(self, data: Prepared) -> Inputs:
        """Its graphs."""
        return Inputs.of(data)

    def test_its_rows_are_the_given_ones_and_can_learn(self, data: Prepared) -> None:
        module = self.build(data)
        assert (module.users.detach().numpy() == randomness.table(data.users, 8, 0.5, 0)).all()
        assert (module.items.detach().numpy() == randomness.table(data.items, 8, 0.5, 1)).all()
        assert {"users", "items"} <= {name for name, p in module.named_parameters() if p.requires_grad}

    def test_the_same_seed_gives_the_same_vectors_whatever_else_is_drawn(self, data: Prepared, inputs: Inputs) -> None:
        torch.manual_seed(1)
        first = self.build(data).embed(inputs)
        torch.manual_seed(2)
        module = self.build(data)
        for again in (module.embed(inputs), module.embed(inputs), module.eval().embed(inputs)):
            assert torch.equal(first.users, again.users)
            assert torch.equal(first.items, again.items)
        module.load_state_dict(self.build(data, seed=5).state_dict())
        assert not torch.equal(first.users, module.embed(inputs).users)

    def test_the_shared_layers_follow_the_seed(self, data: Prepared) -> None:
        one, same, other = (self.build(data, seed=seed).state_dict() for seed in (0, 0, 3))
        weights = [name for name in one if name not in ("users", "items") and one[name].dim() > 1]
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not any(torch.equal(one[name], other[name]) for name in weights)

    def test_the_branches_sum_to_the_final_vectors(self, data: Prepared, inputs: Inputs) -> None:
        module = self.build(data)
        found = module.embed(inputs)
        assert found.users.shape == (len(data.users), 8)
        assert found.items.shape == (len(data.items), 8)
        for side, final in ((0, found.users), (1, found.items)):
            parts = [branch[side] for name, branch in found.branches.items() if name != "final"]
            torch.testing.assert_close(sum(parts), final)
            assert all(part.abs().sum() > 0 for part in parts)
        assert set(module.item_bases()) <= {"final", "start", *found.branches}

    def test_it_says_whether_items_are_made_from_those_they_resemble(self, data: Prepared, inputs: Inputs) -> None:
        module = self.build(data)
        alone = dataclasses.replace(
            inputs, item_from_items={m: torch.zeros_like for m in inputs.item_from_items}, bipartite=torch.zeros_like
        )
        with_graph = dataclasses.replace(inputs, bipartite=torch.zeros_like)
        rows = [module.embed(x).items.detach() for x in (alone, with_graph)]
        assert torch.equal(*rows) != module.item_graph

    def test_gradients_on_sparse_graphs_equal_those_on_dense_ones(self, data: Prepared, inputs: Inputs) -> None:
        def dense(product: Product, columns: int) -> Product:
            matrix = product(torch.eye(columns))
            return lambda x: matrix @ x

        n_users, n_items = len(data.users), len(data.items)
        other = dataclasses.replace(
            inputs,
            bipartite=dense(inputs.bipartite, n_users + n_items),
            user_from_items=dense(inputs.user_from_items, n_items),
            item_from_items={m: dense(product, n_items) for m, product in inputs.item_from_items.items()},
        )
        module, batch = self.build(data), self.batch(data)
        expected = self.gradients(module, module.loss(other, batch))
        for name, found in self.gradients(module, module.loss(inputs, batch)).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-7, msg=name)

    def test_the_loss_of_a_batch_has_the_gradient_of_the_loss_over_everybody(
        self, data: Prepared, inputs: Inputs
    ) -> None:
        module, batch = self.build(data, **self.plain), self.batch(data)
        loss, full = module.loss(inputs, batch), self.full_loss(module, inputs, batch)
        torch.testing.assert_close(loss, full)
        expected = self.gradients(module, full)
        found = self.gradients(module, loss)
        assert found["users"].abs().sum() > 0
        assert set(found) == set(expected)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-7, msg=name)

    @pytest.mark.parametrize("modalities", [(), ("image",), ("image", "text"), ("audio", "image", "text")])
    def test_it_learns_from_any_number_of_modalities(self, data: Prepared, modalities: tuple[str, ...]) -> None:
        data = tiny.in_modalities(data, modalities)
        inputs, module, batch = Inputs.of(data), self.build(data), self.batch(data)
        before = {name: p.detach().clone() for name, p in module.named_parameters()}
        optimiser, losses = torch.optim.Adam(module.parameters(), lr=0.01), []
        for _ in range(30):
            optimiser.zero_grad()
            losses.append(module.loss(inputs, batch))
            losses[-1].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        assert losses[-1] < 0.9 * losses[0]
        assert all(a > b for a, b in itertools.pairwise(losses[:6]))
        for m in modalities if self.reads_features else ():
            layers = [name for name in before if f".{m}." in f".{name}."]
            assert any(not torch.equal(before[name], module.state_dict()[name]) for name in layers), m

    def test_gradients_reach_every_parameter(self, data: Prepared, inputs: Inputs) -> None:
        module = self.build(data)
        found = self.gradients(module, module.loss(inputs, self.batch(data, len(data.edges))))
        assert set(found) == {name for name, _ in module.named_parameters()}
        assert {name for name, gradient in found.items() if not gradient.any()} == set()
        for column, side in enumerate(("users", "items")):  # every row of a node with edges
            assert found[side][np.unique(data.edges[:, column])].any(dim=1).all()

    def test_the_loss_is_the_same_every_time(self, data: Prepared, inputs: Inputs) -> None:
        def values(noise: int) -> list[Tensor]:
            torch.manual_seed(noise)
            module, batch = self.build(data), self.batch(data)
            loss = module.loss(inputs, batch)
            return [loss.detach(), *self.gradients(module, loss).values()]

        assert all(torch.equal(one, other) for one, other in zip(values(1), values(2), strict=True))

    def test_the_order_of_the_ids_is_no_matter(self, data: Prepared, inputs: Inputs) -> None:
        rng = np.random.default_rng(0)
        users, items = rng.permutation(len(data.users)), rng.permutation(len(data.items))
        module, other = self.build(data), tiny.in_order(data, users, items)
        found, shuffled = module.embed(inputs), self.build(other).embed(Inputs.of(other))
        torch.testing.assert_close(shuffled.users, found.users[torch.from_numpy(users)], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(shuffled.items, found.items[torch.from_numpy(items)], rtol=1e-4, atol=1e-6)
        batch = self.batch(data)
        where = [torch.from_numpy(np.argsort(order)) for order in (users, items)]
        moved = dataclasses.replace(
            batch,
            users=where[0][batch.users],
            positives=where[1][batch.positives],
            negatives=where[1][batch.negatives],
        )
        loss = self.build(other).loss(Inputs.of(other), moved)
        torch.testing.assert_close(loss, module.loss(inputs, batch), rtol=1e-4, atol=1e-6)

    def test_who_is_cut_out_is_as_if_never_there(self, data: Prepared) -> None:
        """Rows cut from a trained module, on cut data, give what a module made for the cut data gives."""
        cut, users, items = tiny.less(data, users=[3, 50], items=[5, 20])
        whole, fresh = self.build(data), self.build(cut)
        state = whole.state_dict()
        state |= {"users": state["users"][torch.from_numpy(users)], "items": state["items"][torch.from_numpy(items)]}
        fresh.load_state_dict(state)  # nothing else has the shape of the data
        expected = fresh.embed(Inputs.of(cut))
        # Those who are cut out stay as nodes without edges, features and neighbours: nobody else may notice.
        found = whole.embed(Inputs.of(tiny.hollow(data, users, items)))
        torch.testing.assert_close(found.users[torch.from_numpy(users)], expected.users, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.items[torch.from_numpy(items)], expected.items, rtol=1e-4, atol=1e-6)

    def test_a_training_goes_on_after_a_crash_and_is_saved_and_loaded_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        params = model_params({"name": self.name, "width": 8})
        train = tiny.TRAIN.model_copy(update={"epochs": 3, "min_epochs": 3})
        whole = fit(tiny.dataset(), params, train)
        backbone, count = type(self.build(tiny.prepared())), iter(range(7))
        loss = backbone.loss

        def until(*args: Any) -> Tensor:  # noqa: ANN401 - whatever `loss` takes
            if next(count, None) is None:
                raise InterruptedError
            return loss(*args)

        with monkeypatch.context() as patched, pytest.raises(InterruptedError):
            patched.setattr(backbone, "loss", until)
            fit(tiny.dataset(), params, train, checkpoint=tmp_path / "checkpoint.npz")
        torch.manual_seed(5)
        found = fit(tiny.dataset(), params, train, checkpoint=tmp_path / "checkpoint.npz")
        found.save(tmp_path / "model")
        loaded = TrainedModel.load(tmp_path / "model")
        assert loaded.params == params
        for other in (found, loaded):
            assert all(np.array_equal(other.arrays[name], array) for name, array in whole.arrays.items())
            assert torch.equal(other.embed().users, whole.embed().users)
            assert torch.equal(other.embed().items, whole.embed().items)

    def test_nodes_without_edges_or_features_have_finite_vectors(self) -> None:
        data = tiny.by_hand("abc", "wxyz", "ax ay", canaries="bx", test="cz", present="wxy")
        module = self.build(data)
        found = module.embed(Inputs.of(data))
        assert torch.isfinite(found.users).all()
        assert torch.isfinite(found.items).all()
        for gradient in self.gradients(module, module.loss(Inputs.of(data), self.batch(data, 2))).values():
            assert torch.isfinite(gradient).all()

    def test_it_is_found_by_its_name_and_another_name_is_not(self) -> None:
        assert callable(builder(self.name))
        with pytest.raises(ModelError, match="cannot be loaded" if ":" in self.name else f"There are:.*{self.name}"):
            builder(self.name + "x")
