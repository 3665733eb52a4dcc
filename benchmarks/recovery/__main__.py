"""Fits every design, prints the tables and draws the figure."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks import recovery
from benchmarks.recovery.designs import DESIGNS
from benchmarks.recovery.figure import picture
from benchmarks.recovery.product import exponent, split_of_fits, split_table
from benchmarks.recovery.tables import largest, pooled, rates, recovered, scores

SIZES, REPLICATES = (2_000, 20_000, 200_000), (10, 6, 5)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.recovery",
        description=recovery.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one or two replicates of each size, no figure")
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = recovered(DESIGNS, SIZES, (2, 1, 1) if arguments.quick else REPLICATES)
    if arguments.output:
        table.to_csv(arguments.output, index=False)
    split = split_table()
    for found in (largest(table), scores(table), rates(table), pooled(rates(table)), split):
        print(found.to_string(float_format=lambda x: f"{x:.4g}"), "\n")
    print(f"information on the split: P^{exponent(split):.2f}, at the last two rates P^{exponent(split[2:]):.2f}\n")
    fits = pd.concat([split_of_fits(b, 20_000, 1 if arguments.quick else 3) for b in (0.0, -3.6)])
    print(fits.to_string(float_format=lambda x: f"{x:.4g}"))
    if not arguments.quick:
        picture(table, split)


if __name__ == "__main__":
    main()
