"""Public interaction logs: where their owners publish them, on which terms, and how to read them.

None is shipped or downloaded here, because most licences forbid redistribution.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd


@dataclass(frozen=True)
class DataSet:
    """A public data set; `reading` is Python that knows pandas as pd, numpy as np and pyrorec as pr."""

    name: str
    address: str
    licence: str
    users: int
    items: int
    records: int
    contents: str
    reading: str


DATA_SETS = (
    DataSet(
        name="online_retail",
        address="https://archive.ics.uci.edu/dataset/352/online+retail",
        licence="CC BY 4.0",
        users=4_334,
        items=3_659,
        records=396_337,
        contents="Invoice lines of a gift wholesaler, December 2010 to December 2011: quantity, price, text. "
        "The sizes are after dropping cancellations, lines without customer, and postage and the like.",
        reading='frame = pd.read_excel("Online Retail.xlsx", dtype={"StockCode": str})\n'
        "frame = frame[frame.CustomerID.notna() & (frame.Quantity > 0)]\n"
        'names = pr.Columns("CustomerID", "StockCode", "Quantity", "InvoiceDate")\n'
        "log = pr.read_interactions(frame, columns=names)",
    ),
    DataSet(
        name="kuairand_pure",
        address="https://kuairand.com",
        licence="CC BY-SA 4.0",
        users=21_184,
        items=5_564,
        records=94_784,
        contents="Short videos shown to users, clicked or not, with likes, watch time, and features of both, "
        "times in milliseconds. The sizes are of a sample of the standard policy's impressions.",
        reading='log = pr.read_interactions("log_standard_4_22_to_5_08_pure.csv",\n'
        '    columns=pr.Columns(item="video_id", value="is_click", timestamp="time_ms"))',
    ),
    DataSet(
        name="coat",
        address="https://www.cs.cornell.edu/~schnabts/mnar/",
        licence="none stated; research use, cite Schnabel et al. 2016",
        users=290,
        items=300,
        records=11_600,
        contents="Ratings 1-5 of coats: 6,960 that users chose to give and 4,640 of coats drawn at random, "
        "with binary user and item features. The unbiased judge of debiasing.",
        reading='parts = {"biased": np.loadtxt("train.ascii"), "random": np.loadtxt("test.ascii")}\n'
        "log = pr.read_interactions(pd.concat(\n"
        '    pd.DataFrame({"user_id": u, "item_id": i, "value": x[u, i], "exposure": exposure})\n'
        "    for exposure, x in parts.items() for u, i in [x.nonzero()]))",
    ),
    DataSet(
        name="open_bandit",
        address="https://research.zozo.com/data.html",
        licence="stated by the owner at the address; cite Saito et al. 2021",
        users=265,
        items=34,
        records=20_000,
        contents="Fashion items shown by a uniform and by a Bernoulli Thompson sampling policy, clicked or "
        "not, with the true propensities. No user ids: groups of equal context stand in. The sizes are of "
        "the men's campaign in the small version.",
        reading="def impressions(path, exposure):\n"
        "    frame = pd.read_csv(path, index_col=0)\n"
        '    context = frame.filter(like="user_feature_").astype(str).agg("|".join, axis=1)\n'
        "    return frame.assign(user_id=context, exposure=exposure)\n"
        'parts = [impressions("bts/men/men.csv", "biased"), impressions("random/men/men.csv", "random")]\n'
        "log = pr.read_interactions(pd.concat(parts),\n"
        '    columns=pr.Columns(value="click", propensity="propensity_score"))',
    ),
    DataSet(
        name="movielens_100k",
        address="https://grouplens.org/datasets/movielens/100k/",
        licence="GroupLens terms: research, no redistribution, no commercial use without permission",
        users=943,
        items=1_682,
        records=100_000,
        contents="Film ratings 1-5 of 1997-98, with genres and demographics.",
        reading='names = ["user_id", "item_id", "value", "timestamp"]\n'
        'log = pr.read_interactions(pd.read_csv("u.data", sep="\\t", names=names))',
    ),
    DataSet(
        name="movielens_1m",
        address="https://grouplens.org/datasets/movielens/1m/",
        licence="GroupLens terms: research, no redistribution, no commercial use without permission",
        users=6_040,
        items=3_706,
        records=1_000_209,
        contents="Film ratings 1-5 of 2000-03, with genres and demographics.",
        reading='names = ["user_id", "item_id", "value", "timestamp"]\n'
        'log = pr.read_interactions(pd.read_csv("ratings.dat", sep="::", engine="python", names=names))',
    ),
    DataSet(
        name="lastfm_hetrec",
        address="https://grouplens.org/datasets/hetrec-2011/",
        licence="research and other non-commercial use",
        users=1_892,
        items=17_632,
        records=92_834,
        contents="How often users played artists, 1 to 352,698 times: extreme over-dispersion.",
        reading='log = pr.read_interactions(pd.read_csv("user_artists.dat", sep="\\t"),\n'
        '    columns=pr.Columns("userID", "artistID", "weight"))',
    ),
    DataSet(
        name="globo_news",
        address="https://www.kaggle.com/datasets/gspmoreira/news-portal-user-interactions-by-globocom",
        licence="academic use only, no commercial use; cite Moreira et al. 2018",
        users=322_897,
        items=46_033,
        records=2_988_181,
        contents="Page views of a Brazilian news portal in October 2017: popularity drifts within hours.",
        reading="from pathlib import Path\n"
        'frame = pd.concat(map(pd.read_csv, sorted(Path("clicks").glob("*.csv"))))\n'
        'names = pr.Columns(item="click_article_id", timestamp="click_timestamp")\n'
        "log = pr.read_interactions(frame, columns=names)",
    ),
    DataSet(
        name="un_votes",
        address="https://doi.org/10.7910/DVN/LEJUQZ",
        licence="CC0",
        users=200,
        items=6_203,
        records=870_109,
        contents="Votes of countries in the UN General Assembly since 1946 (the source has 1 yes, 2 abstain, "
        "3 no): slow drift, a nearly complete matrix.",
        reading='frame = pd.read_csv("UNVotes.csv", low_memory=False).query("vote <= 3")\n'
        "log = pr.read_interactions(frame.assign(value=4 - frame.vote),  # 1 no, 2 abstain, 3 yes\n"
        '    columns=pr.Columns("Countryname", "rcid", timestamp="date"))',
    ),
)


def catalogue() -> pd.DataFrame:
    """Public data sets, one row each: name, address, licence, users, items, records, contents, reading."""
    return pd.DataFrame([asdict(data_set) for data_set in DATA_SETS])
