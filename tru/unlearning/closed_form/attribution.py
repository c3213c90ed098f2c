"""Branch-wise attributed reverse: which part of a row was learned from which neighbour, and taking that part back.

A row's displacement from its initial value is explained as a non-negative combination of the directions of its
neighbours, one basis per branch; the share of the forgotten neighbours is subtracted. Closed form, no epochs
(design: tru.md, step 1; the paper's branch-wise modality scaling).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tru.unlearning.closed_form.padding import alike, padded

ROUNDS = 4
"""Ridge, drop the negative weights, solve again; four rounds equal a full non-negative solve within noise."""


@dataclass(frozen=True)
class Basis:
    """What neighbours pull towards, in one branch.

    Attributes:
        directions: (n, d) unit rows of the vectors after centring. A row is explained by these alone, for what it has
            in common with all vectors is what its neighbours pulled and drawn negatives pushed back.
        common: (d,) what centring took away.
        scale: (n,) one by the length of the centred vectors, taken to be at least a hundredth of that of ``common``:
            the direction of somebody who is all but the mean says nothing, and must not move a row far.
    """

    directions: Tensor
    common: Tensor
    scale: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> Basis:
        """Of the neighbours' vectors (n, d)."""
        common = vectors.mean(dim=0)
        centred = vectors - common
        shortest = max(0.01 * float(common.norm()), 1e-12)
        return cls(unit(centred), common, 1 / centred.norm(dim=1).clamp_min(shortest))


@dataclass(frozen=True)
class Shares:
    """The part of each row's displacement that its forgotten neighbours explain, over all branches.

    Attributes:
        apart: (kinds, r, d) along the directions, by kind of neighbour.
        common: (r, d) along what all neighbours have in common, at the same weights, all kinds together.
    """

    apart: Tensor
    common: Tensor


def unit(vectors: Tensor) -> Tensor:
    """The rows (n, d) at length one."""
    return torch.nn.functional.normalize(vectors, dim=1)


def forgotten_share(
    displacement: Tensor,
    bases: list[Basis],
    edges: np.ndarray,
    kind: np.ndarray,
    rows: np.ndarray,
    ridge: float,
) -> Shares:
    """What forgotten neighbours put into rows.

    Args:
        displacement: (n, d) row minus its initial value, for all rows of this side.
        bases: one per branch, of the other side.
        edges: (e, 2) row and neighbour, as they were before the deletion.
        kind: (e,) int; -1 stays, 0 and above is forgotten. Kinds are told apart, so that each can have its own scale.
        rows: (r,) the rows to solve for; each has at least one forgotten edge.
        ridge: rho.

    Returns:
        In the order of ``rows``; 1 + highest kind of them, at least one.
    """
    # One gather for all branches; a place without neighbour has a row of its own, of zeros.
    nobody, width = len(bases[0].directions), displacement.shape[1]
    directions = torch.stack([basis.directions for basis in bases], dim=1)
    directions = torch.cat([directions, directions.new_zeros(1, len(bases), width)])
    scale = torch.cat([torch.stack([basis.scale for basis in bases], dim=1), torch.zeros(1, len(bases))])
    order = np.argsort(edges[:, 0], kind="stable")
    edges, kind = edges[order], kind[order]
    first, last = np.searchsorted(edges[:, 0], rows), np.searchsorted(edges[:, 0], rows + 1)
    apart = torch.zeros(max(int(kind.max(initial=0)), 0) + 1, len(rows), width)
    common = torch.zeros(len(rows), width)
    for group in alike(last - first):
        at, exists = padded(first[group], last[group])
        neighbours = torch.from_numpy(np.where(exists, edges[at, 1], nobody))
        x = directions[neighbours].flatten(1, 2)
        weights = non_negative_ridge(x, displacement[torch.from_numpy(rows[group])], ridge).view(
            len(group), -1, len(bases)
        )
        kinds = np.where(exists, kind[at], -1)
        gone = torch.from_numpy(kinds[..., None] == np.arange(len(apart)))
        by_kind = (weights[..., None] * gone[:, :, None]).flatten(1, 2)
        apart[:, torch.from_numpy(group)] = torch.einsum("gnk,gnd->kgd", by_kind, x)
        weights = weights * torch.from_numpy(kinds >= 0)[..., None]
        pull = (weights * scale[neighbours]).sum(dim=1)
        common[torch.from_numpy(group)] = pull @ torch.stack([basis.common for basis in bases])
    return Shares(apart, common)


def non_negative_ridge(x: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Minimise |target - sum_j w_j x_j|^2 + ridge |w|^2 over w >= 0, for a batch of small problems.

    Args:
        x: (g, n, d) directions; zero rows get weight zero.
        target: (g, d).
        ridge: rho > 0.

    Returns:
        (g, n) weights.
    """
    weights = _ridge(x, target, ridge)
    todo, found = torch.arange(len(x)), weights
    for _ in range(1, ROUNDS):
        left = (found < 0).any(dim=1)  # the others are solved
        if not left.any():
            break
        x, target, todo, found = x[left], target[left], todo[left], found[left]
        x.mul_((found > 0)[..., None])  # a copy by now
        found = _ridge(x, target, ridge)
        weights[todo] = found
    return weights.clamp_min(0.0)


def _ridge(x: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Plain ridge, through whichever of the two Gram matrices is smaller.

    A number that is not finite stays one, for the gate to find; it is no error here.
    """
    n, d = x.shape[1:]
    weights: Tensor
    if n <= d:
        gram = x @ x.transpose(1, 2) + ridge * torch.eye(n)
        weights = torch.cholesky_solve(x @ target[..., None], torch.linalg.cholesky_ex(gram).L)
    else:
        gram = x.transpose(1, 2) @ x + ridge * torch.eye(d)
        weights = x @ torch.cholesky_solve(target[..., None], torch.linalg.cholesky_ex(gram).L)
    return weights.squeeze(-1)
