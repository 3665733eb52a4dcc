"""The numbers and the pictures of docs/errata.md, computed anew.

    python -m benchmarks.errata

Prints, for every erratum of the two source notes, what the note's formula gives beside what the corrected one gives,
then the table of logistic-normal approximations, and draws the figures into docs/figures. Under a minute on one core.
"""

# Imported in the order of the rows.
from benchmarks.errata import (  # noqa: F401, I001
    exponential_families,
    objective,
    signs,
    divergences,
    counting,
    intervention,
    identifiability,
    integrals,
    pda,
    theorems,
)
