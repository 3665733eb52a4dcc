"""Encoded features against hand-computed numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pyrorec.data import FeatureEncoder, InputError, encode_features

TABLE = pd.DataFrame(
    {
        "age": [20, 40, np.nan],
        "town": ["Ulm", "Bern", "Ulm"],
        "member": [True, False, True],
        "same": [1, 1, 1],
        "none": [None, None, None],
    },
    index=pd.Index(["a", "b", "c"]),
)


def test_encoding_of_each_kind_of_column() -> None:
    encoded = encode_features(TABLE, pd.Index(["c", "z", "a", "b"]))
    assert encoded.names == ("age", "town=Ulm", "town=Bern", "member")
    assert encoded.values.dtype == np.float32
    assert encoded.values.tolist() == [[0, 1, 0, 1], [0, 0, 0, 0], [-1, 1, 0, 1], [1, 0, 1, 0]]


def test_encoding_applies_to_new_ids_and_survives_json() -> None:
    encoder = FeatureEncoder.fit(TABLE)
    new = pd.DataFrame({"member": [None], "town": ["Rome"], "age": [60]}, index=["n"]).astype({"member": "boolean"})
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    # Age 60 lies three standard deviations of 10 above 30; Rome is new; an unknown flag is the mean 2/3.
    np.testing.assert_allclose(again.transform(new).values, [[3, 0, 0, 2 / 3]], rtol=1e-6)
    with pytest.raises(InputError, match="'town'"):
        encoder.transform(new.drop(columns="town"))
    with pytest.raises(InputError, match="stored features"):
        FeatureEncoder.from_dict({"columns": [{"kind": "spline"}]})


def test_rare_categories_share_a_column() -> None:
    names = [f"n{i:02d}" for i in range(60)]
    table = pd.DataFrame({"name": [*names, *names, "n59"]})
    encoder = FeatureEncoder.fit(table)
    assert len(encoder.names) == 51
    assert encoder.names[:2] == ("name=n59", "name=n00")
    assert encoder.names[-1] == "name=(other)"
    values = encoder.transform(table).values
    assert values.sum(axis=0).tolist() == [3, *49 * [2], 20]
    assert encoder.transform(pd.DataFrame({"name": ["new"]})).values[0, -1] == 1


def test_names_are_no_features() -> None:
    names = [f"n{i:02d}" for i in range(60)]
    assert FeatureEncoder.fit(pd.DataFrame({"name": names})).names == ()
    assert FeatureEncoder.fit(pd.DataFrame({"name": [*names, "n07"]})).names == ("name=n07", "name=(other)")
    assert len(FeatureEncoder.fit(pd.DataFrame({"name": names[:50]})).names) == 50


def test_dates_numbers_as_text_and_infinities() -> None:
    dates = pd.DataFrame({"when": pd.to_datetime(["2024-01-01", "2024-01-03", None])})
    assert FeatureEncoder.fit(dates).transform(dates).values[:, 0].tolist() == [-1, 1, 0]
    with pytest.raises(InputError, match="'price' holds infinite"):
        FeatureEncoder.fit(pd.DataFrame({"price": [1.0, np.inf]}))
    assert FeatureEncoder.fit(pd.DataFrame({"same": [0.1] * 7})).names == ()


def test_large_offsets_keep_their_precision() -> None:
    table = pd.DataFrame({"stamp": [1e12, 1e12 + 2.0]})
    assert FeatureEncoder.fit(table).transform(table).values[:, 0].tolist() == [-1, 1]


def test_dates_and_flags_refuse_what_is_none() -> None:
    """A year is no date, seven no yes; an empty column is unknown everywhere."""
    dates = pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01", "2023-01-01"]))
    encoder = FeatureEncoder.fit(pd.DataFrame({"released": dates, "adult": [True, False, True]}))
    with pytest.raises(InputError, match="'released' held dates"):
        encoder.transform(pd.DataFrame({"released": [1999, 2001], "adult": [True, False]}))
    with pytest.raises(InputError, match="'adult' was yes or no"):
        encoder.transform(pd.DataFrame({"released": dates, "adult": [7, 0, 1]}))
    empty = encoder.transform(pd.DataFrame({"released": [None, None], "adult": [None, None]})).values
    assert empty == pytest.approx(np.array([[0.0, 2 / 3]] * 2), abs=1e-6)
    years = FeatureEncoder.fit(pd.DataFrame({"year": [1999, 2001, 2005]}))
    with pytest.raises(InputError, match="'year' held numbers"):
        years.transform(pd.DataFrame({"year": dates}))
    assert FeatureEncoder.from_dict(encoder.to_dict()) == encoder
