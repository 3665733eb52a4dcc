"""Encoders: what each reads of a row, by hand; sizes that grow with the catalogue, and sizes that do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import both_sides

import pyrorec as pr
from pyrorec.guides import BilateralGuide
from pyrorec.guides.encoders import Encoder, Encoding, RowEncoding, SetEncoding, Setting
from pyrorec.guides.encoders.base import ACTIVATIONS
from pyrorec.guides.inputs import RowInput
from pyrorec.inference.elbo import AnalyticELBO
from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel
from pyrorec.models.families import Gaussian, Outcome
from pyrorec.models.predictors import Additive
from pyrorec.models.rows import SparseRows

every_encoding = pytest.mark.parametrize("cls", list(Encoding.registry), ids=lambda c: c.name)
QUIET = pr.Context(progress=False)


def ratings(users: int = 6, items: int = 5, seed: int = 0) -> dict[str, SparseRows]:
    g = torch.Generator().manual_seed(seed)
    row, column = (torch.rand(users, items, generator=g) < 0.6).nonzero(as_tuple=True)
    return both_sides(row, column, torch.randn(len(row), generator=g), torch.ones(len(row)), (users, items))


def built(encoding: Encoding, rows: SparseRows, effect: bool = True, dropout: float = 0.0) -> Encoder:
    torch.manual_seed(0)
    return encoding.build(Setting(rows, Outcome.RATING, None, 2, 0.5, 3.0 if effect else None, dropout))  # type: ignore[return-value]


def others(rows: SparseRows) -> torch.Tensor:
    return torch.randn(rows.columns, 2, generator=torch.Generator().manual_seed(3))


def count(encoder: Encoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_row_encoder_by_hand(activation: str) -> None:
    rows = ratings()["user"]
    encoder = built(RowEncoding(hidden=(4, 3), activation=activation, normalisation="mean"), rows)
    pattern, value = np.zeros((6, 5)), np.zeros((6, 5))
    seen = rows.value.numpy()
    pattern[rows.row, rows.column] = 1.0
    value[rows.row, rows.column] = (seen - seen.mean()) / seen.std(ddof=1)
    n = np.maximum(pattern.sum(1, keepdims=True), 1.0)
    f = {
        "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "softplus": lambda x: np.log1p(np.exp(x)), "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
        "gelu": lambda x: torch.nn.GELU()(torch.as_tensor(x)).numpy(),
    }[activation]  # fmt: skip
    weights = {name: p.detach().double().numpy() for name, p in encoder.named_parameters()}
    h = f(weights["bias"] + (pattern / n) @ weights["pattern"] + (value / n) @ weights["value"])
    h = f(h @ weights["layers.0.weight"].T + weights["layers.0.bias"])
    mean = h @ weights["factors_head.mean.weight"].T + weights["factors_head.mean.bias"]
    np.testing.assert_allclose(encoder(rows).factors.mean.detach(), mean, rtol=1e-4, atol=1e-6)


def test_the_set_encoder_by_hand() -> None:
    rows = ratings()["user"]
    encoder, table = built(SetEncoding(hidden=(4,)), rows), others(rows)
    pattern, value = encoder.inputs(rows)
    centred = table.numpy() - table.numpy().mean(0)
    u, _, v = np.linalg.svd(centred, full_matrices=False)
    white = torch.as_tensor(u @ v) * 5**0.5  # of all orthogonal frames the nearest to the centred table
    dense = [torch.zeros(6, 5).index_put((rows.row, rows.column), w) @ white for w in (pattern, value)]
    h = torch.tanh(
        encoder.bias + dense[0] @ encoder.pattern + dense[1] @ encoder.value + encoder.summary(rows) @ encoder.lengths
    )
    torch.testing.assert_close(encoder(rows, table).factors.mean, encoder.factors_head.mean(h))


@pytest.mark.parametrize(("normalisation", "power"), [("root", 0.5), ("mean", 1.0), ("none", 0.0)])
def test_cells_are_divided_as_named(normalisation: str, power: float) -> None:
    rows = ratings()["user"]
    pattern, _ = RowInput(rows, Outcome.RATING, normalisation=normalisation)(rows)
    torch.testing.assert_close(pattern, rows.records[rows.row] ** -power)


def test_a_set_encoder_does_not_grow_with_the_catalogue() -> None:
    sizes = [(6, 5), (40, 90)]
    sets = [count(built(SetEncoding(), ratings(*size)[side])) for size in sizes for side in ("user", "item")]
    assert len(set(sets)) == 1
    rows = [count(built(RowEncoding(), ratings(*size)["user"])) for size in sizes]
    assert rows[1] - rows[0] == 85 * 100 * 2


@every_encoding
def test_a_row_that_came_later_is_encoded_like_one_of_the_log(cls: type[Encoding]) -> None:
    """A new row on the same columns; for the set encoder a column is known by its factors alone."""
    rows = ratings()["item"]
    encoder, table = built(cls.example(), rows), others(rows)
    new = rows.take(torch.tensor([3]))
    torch.testing.assert_close(encoder(new, table).factors.mean, encoder(rows, table).factors.mean[3:4])
    if encoder.reads_others:
        turned = SparseRows(new.start, new.columns - 1 - new.column, new.value, new.trials, new.columns)
        torch.testing.assert_close(encoder(turned, table.flip(0)).factors.mean, encoder(new, table).factors.mean)


@every_encoding
def test_dropout_hides_cells_in_training_only(cls: type[Encoding]) -> None:
    rows = ratings()["user"]
    encoder, table = built(cls.example(), rows, dropout=0.5), others(rows)
    drawn = torch.stack([encoder(rows, table).factors.mean for _ in range(4)])
    assert drawn.std(0).max() > 1e-3
    encoder.eval()
    torch.testing.assert_close(encoder(rows, table).factors.mean, encoder(rows, table).factors.mean)


@every_encoding
def test_every_parameter_has_a_gradient(cls: type[Encoding]) -> None:
    rows = ratings()
    torch.manual_seed(0)
    with module_local():
        spec = BilateralModel(factors=2, family=Gaussian(), predictor=Additive(), encoder=cls(hidden=(4, 3)))  # type: ignore[call-arg]
        model = Bilateral(spec, 6, 5, 0.0, 0.0)
        guide = BilateralGuide(model, rows)
        for side in ("user", "item"):
            guide.refresh(model, side, rows[side])
        batch = Batch("user", torch.arange(6), rows["user"], 1.0, rows["item"])
        AnalyticELBO().differentiable_loss(model, lambda b: guide(b, model), batch).backward()
        silent = [name for name, p in guide.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_settings_that_do_not_exist_are_refused() -> None:
    for settings, match in (
        ({"activation": "tan"}, "no activation 'tan'; there are: tanh, relu"),
        ({"normalisation": "sum"}, "no normalisation 'sum'"),
        ({"hidden": (3, 0)}, "hidden widths must be above zero"),
    ):
        with pytest.raises(ValueError, match=match):
            RowEncoding(**settings)
    with pytest.raises(pr.UnfitPair, match="hidden is short for a row encoder"):
        BilateralModel(hidden=(7,), encoder=SetEncoding())


def test_hidden_is_short_for_a_row_encoder() -> None:
    rows = ratings()
    sizes = []
    for parts in ({"hidden": (4, 3)}, {"encoder": RowEncoding(hidden=(4, 3))}):
        model = Bilateral(BilateralModel(factors=2, family=Gaussian(), predictor=Additive(), **parts), 6, 5, 0.0, 0.0)
        sizes.append({name: tuple(p.shape) for name, p in BilateralGuide(model, rows).named_parameters()})
    assert sizes[0] == sizes[1]
    assert sizes[0]["encoder.user.layers.0.weight"] == (3, 4)


@pytest.mark.parametrize("encoding", [SetEncoding(hidden=(12,)), RowEncoding(hidden=(8,), activation="elu")], ids=repr)
def test_a_fit_learns_who_likes_what_and_comes_back(
    encoding: Encoding, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(1)
    user, item = np.meshgrid(np.arange(60), np.arange(30), indexing="ij")
    likes = random.random((60, 30)) < np.where(user % 2 == item % 2, 0.5, 0.05)
    log = pr.read_interactions(pd.DataFrame({"user_id": user[likes], "item_id": item[likes], "value": 1}))
    training = pr.Training(epochs=40, batch_size=20, learning_rate=0.03, validation_fraction=0.0)
    run = pr.fit(BilateralModel(factors=2, binarise=True, encoder=encoding), log, training=training, context=QUIET)
    mean = run.posterior.linear_mean(torch.arange(60))
    same = torch.as_tensor(np.asarray(run.posterior.users)[:, None] % 2 == np.asarray(run.posterior.items) % 2)
    assert float(mean[same].mean()) > float(mean[~same].mean()) + 0.5
    folder = tmp_path_factory.mktemp("encoders")
    run.save(folder / "run")
    back = pr.load(folder / "run")
    assert back.spec == run.spec
    assert torch.equal(back.posterior.user_mean, run.posterior.user_mean)


def test_the_two_sides_of_a_set_encoder_read_each_others_kept_means() -> None:
    rows = ratings()
    model = Bilateral(
        BilateralModel(factors=2, family=Gaussian(), predictor=Additive(), encoder=SetEncoding()), 6, 5, 0.0, 0.0
    )
    guide = BilateralGuide(model, rows)
    assert guide.posterior["item"].mean.std() > 0.1  # rows start apart
    with torch.no_grad():
        before = guide.encode(model, model.user, rows["user"]).factors.mean
        guide.posterior["item"].mean.add_(1.0)
        torch.testing.assert_close(guide.encode(model, model.user, rows["user"]).factors.mean, before)
        guide.posterior["item"].mean[2] += 1.0
        assert not torch.allclose(guide.encode(model, model.user, rows["user"]).factors.mean, before, atol=1e-3)
