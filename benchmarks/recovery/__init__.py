"""Are the parameters of the popularity model found, and how fast do errors fall with the size of the log?

    python -m benchmarks.recovery [--quick] [--output FILE]

Logs of 200 items and 40 users with 2,000, 20,000 and 200,000 interactions are drawn from the model that is fitted:
additive (clicks shown in proportion to popularity, whose exposure counts are its prior), log-additive with clicks
(cloglog, lognormal popularity) and with counts (Poisson, Gamma popularity), both with a learned population.

Scales. A fit standardises the features, x' = (x - mean) / sd by the users of the log, and zeta' = (log z - log e -
M') / S' by the population M', S' that empirical Bayes finds in the exposure counts, whose unit is e, the mean exposure
an item over the exposure at z = 1. The world has zeta = (log z - M) / S. One linear predictor on both scales means

    slope' = slope sd        gamma' = gamma S' / S        intercept' = b0 + slopes . mean + gamma (M' + log e - M) / S.

Errors are taken on the fitted scale. Where the population is learned it is that of 200 items drawn: with z known, its
maximum likelihood estimate would still miss the truth. Errors are taken from both: from the truth, with the full
standard error, which the number of items bounds from below, and from that estimate ("items drawn"), which more
interactions do bring down. The difference of a maximum likelihood estimate and the one that also knows z has the
difference of their variances.

Standard errors are those of the expected information at the truth (maths 2). Popularity enters it as what the fit
knows of it: effects of an item have variance v_i (gamma'^2 s_i^2 with s_i the sd of the item's prior; sd^2; 1 / shape),
so that an item with cells of weight W contributes X'WX - X'W1 1'WX / (1 / v_i + 1'W1). This is exact for Poisson counts
with Gamma popularity, and the Laplace approximation of the marginal likelihood elsewhere.

Then the product form, P = G_i sigma(d_i + b t): the information on the split of log G_i against d_i falls with the
third power of the click rate (maths 2.1), and fits from two starts are compared at two rates.
"""
