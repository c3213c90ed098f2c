"""One deletion on one model, at any strength: purge, attributed reverse of items' rows, fusion gate.

The parts are stated in :mod:`~tru.unlearning.closed_form.attribution` and
:mod:`~tru.unlearning.closed_form.fusion_gate`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tru.data.prepare import Prepared
from tru.evaluation.audits import doubling
from tru.models.base import Embedding
from tru.models.graph import Inputs
from tru.models.trained import TrainedModel
from tru.unlearning.baselines.cut import structural
from tru.unlearning.change import Change
from tru.unlearning.closed_form import fusion_gate
from tru.unlearning.closed_form.attribution import Basis, forgotten_share, unit
from tru.unlearning.params import Strength, UnlearnParams

OWN = 6
"""Edges, one less than which and a user's last vector tells as much of the user as of the items. Chosen on TikTok and
amazon-baby, against retrained models (docs/log.md)."""

COMPANY = 8
"""Edges that have to stay with an item, and half of those it had, for a strength to count in full. Chosen on the same
data."""


class Deletion:
    """See the file's docstring. What does not depend on the strength is computed once.

    Args:
        params: which interventions are on.
        model: before.
        retained: the data that may stay.
        change: between its data and these.
        inputs: of its data.
        ghosts: vectors of everybody before; in memory only.
    """

    def __init__(
        self,
        params: UnlearnParams,
        model: TrainedModel,
        retained: Prepared,
        change: Change,
        inputs: Inputs,
        ghosts: Embedding,
    ) -> None:
        self.params, self.model, self.change, self.ghosts = params, model, change, ghosts
        self.before, self.inputs = inputs, inputs.part(retained, change.users, change.items)
        self.purged = structural(model, retained, change, params.neutral_rows)
        self.users, self.items = (torch.from_numpy(self.purged.arrays[side]) for side in ("users", "items"))
        self.user_shares = torch.zeros_like(self.users)
        self.touched = torch.zeros(0, dtype=torch.int64)
        """(t,) the items that lose an edge and keep one."""
        self.item_shares = torch.zeros(1, 0, self.items.shape[1])
        """(kinds, t, d) in their rows: of users who stay, and of each class of users of whom no edge is left."""
        self.company = torch.ones(len(self.items))
        """How much of a strength counts for an item; all of it where enough of its edges stay (:data:`COMPANY`)."""
        if params.attribution and len(change.forgotten):
            self._attribute()

    @cached_property
    def start(self) -> dict[str, Tensor] | None:
        """Initial rows of the ``users`` and ``items`` before the deletion; None where nobody knows them."""
        found = self.model.started(*(crowd.keys for crowd in self.before.crowds))
        return None if found is None else {side: torch.from_numpy(getattr(found, side)) for side in ("users", "items")}

    def _attribute(self) -> None:
        """What forgotten neighbours put into each touched row, at strength one, on positions of the retained data."""
        data, change = self.model.data, self.change
        n = len(data.items)
        displaced = {side: torch.from_numpy(self.model.arrays[side]) for side in ("users", "items")}
        if self.start is not None:  # else the whole row counts as learned
            displaced = {side: rows - self.start[side] for side, rows in displaced.items()}
        module = self.model.module()
        names = module.item_bases() if self.params.branches else ("final",)
        names = tuple(name for name in names if name != "start" or self.start is not None)
        bases = [Basis.of(self._basis(name)) for name in names]
        left = np.zeros(len(data.users), dtype=bool)
        left[change.users] = ~change.emptied_users
        user, item = data.edges.T
        leaving = np.where(left, 0, np.bincount(user, minlength=len(left)))
        had, stay = (torch.from_numpy(np.bincount(x, minlength=n)[change.items]) for x in (item, item[~change.gone]))
        self.company = (stay / (had / 2).clamp_min(COMPANY)).clamp_max(1.0)
        kind = np.where(change.gone, doubling(leaving)[user], -1)
        touched = np.intersect1d(change.forgotten[:, 1], change.items[~change.emptied_items])
        found = forgotten_share(displaced["items"], bases, data.edges[:, ::-1], kind, touched, self.params.ridge)
        self.touched = torch.from_numpy(where(touched, change.items, change.emptied_items))
        self.item_shares = found.apart
        # What an item gained with everybody goes with those who gave it: all if all go, hardly anything if few do.
        lost = 1 - stay[self.touched] / had[self.touched]
        self.items = self.items.index_add(0, self.touched, -lost[:, None] * found.common)
        if self.params.fusion_gate:
            self._rewrite(leaving)
        if module.item_graph:
            self.items = self.items + self._second_hand(displaced["items"])
        touched = np.intersect1d(change.forgotten[:, 0], change.users[~change.emptied_users])
        kind, basis = np.where(change.gone, 0, -1), [Basis.of(self.ghosts.items)]
        found = forgotten_share(displaced["users"], basis, data.edges, kind, touched, self.params.ridge)
        self.user_shares[torch.from_numpy(where(touched, change.users, change.emptied_users))] = found.apart[0]

    def _rewrite(self, edges: np.ndarray) -> None:
        """Have what users who are gone left in items' rows taken back so that those who stay feel it least.

        A user who is gone can be asked about in two ways: by the initial row, which can be derived again, and by the
        last vector, of which somebody may have a copy. Both should score the items as much lower as the attributed
        shares would have it; the last vector of somebody with few edges says little more than what these items are,
        which a retrained model knows as well, and counts for less (:data:`OWN`).

        Args:
            edges: (n_users_before,) edges of the users who are gone, 0 for those who stay.
        """
        change = self.change
        items = where(change.forgotten[:, 1], change.items, change.emptied_items)
        told = (edges[change.forgotten[:, 0]] > 0) & (items >= 0)
        at, user = torch.from_numpy(items[told]), torch.from_numpy(change.forgotten[told, 0])
        row = torch.zeros(len(self.items), dtype=torch.int64)
        row[self.touched] = torch.arange(len(self.touched))
        share, count = self.item_shares[1:].sum(0)[row[at]], torch.from_numpy(edges)[user]
        told_last = (count - 1) / (count + OWN - 1)
        asked = [(unit(self.ghosts.users[user]), told_last)]
        if self.start is not None:
            asked.insert(0, (unit(self.start["users"][user]), torch.ones(len(user))))
        probes = torch.cat([probe for probe, _ in asked])
        wish = torch.cat([-(probe * share).sum(1) * told for probe, told in asked])
        classes = torch.from_numpy(doubling(edges))[user]
        kinds = classes[:, None] == torch.arange(1, len(self.item_shares))
        rows, found = self._rewritten(
            probes, at.repeat(len(asked)).numpy(), wish[:, None] * kinds.repeat(len(asked), 1)
        )
        self.item_shares[1:] = 0.0
        self.item_shares[1:, row[rows]] = -found

    def _second_hand(self, displacement: Tensor) -> Tensor:
        """To be added to the rows of items that deleted ones resemble, for what the deleted ones' users put into them.

        A deleted item's vector was made from these rows as well, so its pairs taught them: should an item with the same
        features come back, its former users would like it. They pulled by way of that item's score, so in the direction
        of their final vectors only. At strength one, for no practice could tell a better one.

        Args:
            displacement: (n_items_before, d) rows minus their initial values.

        Returns:
            (n_items_after, d).
        """
        data, change = self.model.data, self.change
        position = np.full(len(data.items), -1)
        position[change.items] = np.arange(len(change.items))
        left = np.zeros(len(data.items), dtype=bool)
        left[change.items] = ~change.emptied_items
        links = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(data.knn[m] for m in data.modalities)])
        links = np.unique(links[(position[links[:, 0]] < 0) & left[links[:, 1]]], axis=0)
        if not len(links):
            return torch.zeros_like(self.items)
        taught = second_hand(links, data.edges)
        rows, n = np.unique(taught[:, 0]), len(data.users)
        own = data.edges[np.isin(data.edges[:, 1], rows), ::-1]
        taught = taught[~np.isin(taught @ [n, 1], own @ [n, 1])]  # an own user has a weight already
        rows = np.unique(taught[:, 0])
        kind, basis = np.repeat([-1, 0], [len(own), len(taught)]), [Basis.of(self.ghosts.users)]
        found = forgotten_share(displacement, basis, np.concatenate([own, taught]), kind, rows, self.params.ridge)
        share, items, at = found.apart[0], position[taught[:, 0]], torch.from_numpy(position[rows])
        if self.params.fusion_gate:
            probes = unit(self.ghosts.users[torch.from_numpy(taught[:, 1])])
            told = share[torch.from_numpy(np.searchsorted(rows, taught[:, 0]))]
            at, (less,) = self._rewritten(probes, items, -(probes * told).sum(1, keepdim=True))
            share = -less
        return torch.zeros_like(self.items).index_add(0, at, -share)

    def _rewritten(self, probes: Tensor, items: np.ndarray, wishes: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`tru.unlearning.closed_form.fusion_gate.rewritten`."""
        stay, pairs = ~self.change.emptied_users, self.purged.data.edges
        users = self.ghosts.users[torch.from_numpy(self.change.users[stay])]
        edges = np.stack([(np.cumsum(stay) - 1)[pairs[:, 0]], pairs[:, 1]], axis=1)
        rows, found = fusion_gate.rewritten(users, edges, probes, items, wishes, len(self.items))
        return torch.from_numpy(rows), found

    def _basis(self, name: str) -> Tensor:
        """Vectors of the users before the deletion.

        An item learned first from where its users started, and somebody who derives a deleted user's initial row again
        finds that part; hence ``start`` (it takes the white-box AUC of deleted users on TikTok from .60 to .53,
        retrained .48-.51).
        """
        if name == "start" and self.start is not None:
            return self.start["users"]
        return self.ghosts.users if name == "final" else self.ghosts.branches[name][0]

    @torch.no_grad()
    def apply(self, gamma: Strength) -> TrainedModel:
        """The model at one strength.

        A strength above one makes up for what a ridge gives to those who stay of what was forgotten in a row. Where
        hardly anybody stays nothing was given away, and the strength nears one.
        """
        strengths = torch.tensor([gamma.items, *gamma.of_gone(len(self.item_shares) - 1)])
        scales = 1 + (strengths[:, None] - 1) * self.company[self.touched]
        back = torch.einsum("kn,knd->nd", scales, self.item_shares)
        items = self.items.index_add(0, self.touched, -back)
        users = self.users
        reversed_users = users - gamma.users * self.user_shares
        patch = torch.from_numpy(self.purged.patch)
        if not self.params.fusion_gate:
            users = reversed_users
        elif len(self.change.forgotten):
            patch = patch + self._gate(users, reversed_users, items, patch)
        arrays = {**self.purged.arrays, "users": users.numpy(), "items": items.numpy()}
        return replace(self.purged, arrays=arrays, patch=patch.numpy())

    def _gate(self, users: Tensor, reversed_users: Tensor, items: Tensor, patch: Tensor) -> Tensor:
        """The fusion gate's change of the users' served vectors."""
        pairs = self.change.forgotten
        stays = where(pairs[:, 0], self.change.users, self.change.emptied_users)
        if not (stays >= 0).any():
            return torch.zeros_like(patch)
        now, then = self._embed(users, items), self._embed(reversed_users, items)
        ghosts = self.ghosts.items.clone()  # items that are gone keep their last vector, as something to move away from
        ghosts[torch.from_numpy(self.change.items)] = now.items
        listed = np.isin(pairs[:, 1], self.change.items)
        out = torch.zeros_like(patch)
        # What the items that are gone take along is not asked for again.
        for these, epsilon in ((~listed, fusion_gate.SHORT), (listed, fusion_gate.EPSILON)):
            part = np.stack([stays, pairs[:, 1]], axis=1)[these & (stays >= 0)]
            served, reference = now.users + patch + out, then.users + patch
            out = out + fusion_gate.patch(served, now.items, reference, ghosts, part, epsilon)
        return out

    def _embed(self, users: Tensor, items: Tensor) -> Embedding:
        return self.model.module(users.numpy(), items.numpy()).embed(self.inputs)


def where(positions: np.ndarray, stay: np.ndarray, emptied: np.ndarray) -> np.ndarray:
    """Positions after the deletion of nodes given by their positions before; -1 for those gone or emptied."""
    after = np.full(max(positions.max(initial=0), stay.max(initial=0)) + 1, -1)
    after[stay[~emptied]] = np.flatnonzero(~emptied)
    found: np.ndarray = after[positions]
    return found


def second_hand(links: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which users taught which rows by way of an item that was made from them.

    Args:
        links: (l, 2) item, and another whose row it was made from.
        edges: (e, 2) user and item.

    Returns:
        (p, 2) the row, and a user of an item that links to it; each pair once, in order.
    """
    edges = edges[np.argsort(edges[:, 1], kind="stable")]
    first, last = (np.searchsorted(edges[:, 1], links[:, 0], side) for side in ("left", "right"))
    count = last - first
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    user = edges[np.repeat(first, count) + within, 0]
    found: np.ndarray = np.unique(np.stack([np.repeat(links[:, 1], count), user], axis=1), axis=0)
    return found
