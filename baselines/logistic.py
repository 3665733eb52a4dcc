"""Penalised logistic regression of clicks on user, item and the product of their factors, by L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit, logit

from pyrorec.baselines.base import Items, Users
from pyrorec.data import Interactions

Array = npt.NDArray[np.float64]

START_SD = 0.1
MOST_ITERATIONS = 500


@dataclass(frozen=True)
class Penalties:
    """Ridge penalties, which are prior precisions: of user biases, item biases and every factor coordinate."""

    user: float = 2.0
    item: float = 2.0
    factor: float = 8.0

    def __post_init__(self) -> None:
        if not min(self.user, self.item, self.factor) > 0:
            raise ValueError(f"{self} holds a penalty that is not positive; 1 to 10 is a good start.")


@dataclass(frozen=True)
class Coefficients:
    """Logit of a click: intercept + user + item + user_factors . item_factors.

    Shapes (users,), (items,), (users, k) and (items, k).
    """

    intercept: float
    user: Array
    item: Array
    user_factors: Array
    item_factors: Array

    def logits(self, users: Users, items: Items) -> Array:
        """Logits of the pairs (users[n], items[n]), shape (n,)."""
        product = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        return self.intercept + self.user[users] + self.item[items] + product

    def surface(self, users: Users) -> Array:
        """Logits of all items for some users, shape (len(users), items)."""
        product = self.user_factors[users] @ self.item_factors.T
        return self.intercept + self.user[users, None] + self.item + product


def fit_logistic(
    clicks: Interactions, weight: Array, penalties: Penalties, factors: int, rng: np.random.Generator
) -> Coefficients:
    """Minimise the loss below over all coefficients, the factors started at random.

    sum over cells of weight [clicks softplus(-eta) + (trials - clicks) softplus(eta)] + 1/2 sum of penalty x square;
    the intercept is free. `weight` (cells,). Convex without factors; with them a local minimum, in which a large
    factor penalty leaves them at zero.
    """
    n_users, n_items = clicks.shape
    start = np.zeros(1 + (n_users + n_items) * (1 + factors))
    start[0] = logit((weight @ clicks.value + 0.5) / (weight @ clicks.trials + 1.0))
    start[1 + n_users + n_items :] = START_SD * rng.normal(size=(n_users + n_items) * factors)
    loss = Loss(clicks, weight, penalties, factors)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS})
    return loss.unpack(found.x)


class Loss:
    """The penalised loss and its gradient as a function of the flat vector of all coefficients."""

    def __init__(self, clicks: Interactions, weight: Array, penalties: Penalties, factors: int) -> None:
        # Sorted by user, so that residuals are the data of a sparse matrix whose products give the gradients.
        order = np.argsort(clicks.user, kind="stable")
        self.user, self.item = clicks.user[order], clicks.item[order]
        self.ones = (weight * clicks.value)[order]
        self.weight = (weight * clicks.trials)[order]
        self.starts = np.concatenate([[0], np.cumsum(clicks.user_counts)])
        self.shape, self.penalties, self.factors = clicks.shape, penalties, factors

    def __call__(self, flat: Array) -> tuple[float, Array]:
        """Value and gradient (coefficients,)."""
        at = self.unpack(flat)
        eta = at.logits(self.user, self.item)
        misfit = self.weight @ np.logaddexp(0.0, eta) - self.ones @ eta
        residual = csr_array((self.weight * expit(eta) - self.ones, self.item, self.starts), shape=self.shape)
        gradient = np.concatenate(
            [
                [residual.data.sum()],
                residual.sum(axis=1),
                residual.sum(axis=0),
                (residual @ at.item_factors).ravel(),
                (residual.T @ at.user_factors).ravel(),
            ]
        )
        shrinkage = self.precisions() * flat
        return float(misfit + shrinkage @ flat / 2), gradient + shrinkage

    def precisions(self) -> Array:
        """The penalty of each coefficient, in the order of `unpack`."""
        (users, items), by = self.shape, self.penalties
        return np.repeat([0.0, by.user, by.item, by.factor], [1, users, items, (users + items) * self.factors])

    def unpack(self, flat: Array) -> Coefficients:
        """The coefficients behind a flat vector: intercept, user, item, user factors, item factors."""
        (users, items), k = self.shape, self.factors
        _, user, item, p, q = np.split(flat, np.cumsum([1, users, items, users * k]))
        return Coefficients(float(flat[0]), user, item, p.reshape(users, k), q.reshape(items, k))
