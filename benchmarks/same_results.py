"""Compare every value of every artifact of two results folders.

    python benchmarks/same_results.py BEFORE AFTER [--renamed MAP.json]

Prints one line for each artifact that differs, and a summary; the exit status is 1 if any does.
Wall-clock columns (`seconds`) are left out. `MAP.json` translates the names of BEFORE:
{"paths": {regex: replacement}, "columns": {old: new}, "columns_in": {regex of paths: {old: new}},
"values": {old: new}, "patterns": {regex: replacement}}, where `values` replaces whole strings
inside tables and `patterns` parts of them.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

TIMES = {"seconds"}
NO_MAP = {"paths": {}, "columns": {}, "columns_in": {}, "values": {}, "patterns": {}}


def artifacts(root: Path) -> dict[str, Path]:
    files = [*root.rglob("*.parquet"), *root.rglob("*.safetensors")]
    return {path.relative_to(root).as_posix(): path for path in files}


def renamed(name: str, paths: dict[str, str]) -> str:
    for pattern, replacement in paths.items():
        name = re.sub(pattern, replacement, name)
    return name


def translated(value: object, names: dict) -> object:
    if not isinstance(value, str):
        return value
    return renamed(names["values"].get(value, value), names["patterns"])


def difference(name: str, before: Path, after: Path, names: dict) -> str | None:
    """What differs first; None if all values are equal in every bit."""
    columns = dict(names["columns"])
    for pattern, more in names["columns_in"].items():
        columns |= more if re.search(pattern, name) else {}
    if before.suffix == ".parquet":
        a = pd.read_parquet(before).rename(columns=columns)
        a = a.map(lambda x: translated(x, names))
        b = pd.read_parquet(after)
        a, b = ({c: t[c].to_numpy() for c in t.columns if c not in TIMES} for t in (a, b))
    else:
        a, b = load_file(before), load_file(after)
        a = {columns.get(key, key): value for key, value in a.items()}
    if a.keys() != b.keys():
        return f"columns {sorted(a.keys() ^ b.keys())}"
    for key in a:
        x, y = a[key], b[key]
        if x.dtype.kind == "f" == y.dtype.kind:
            same = x.shape == y.shape and np.array_equal(x, y, equal_nan=True)
        else:
            same = x.shape == y.shape and pd.Series(x.ravel()).equals(pd.Series(y.ravel()))
        if not same:
            return f"values of {key}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--renamed", type=Path)
    args = parser.parse_args()
    names = NO_MAP | (json.loads(args.renamed.read_text()) if args.renamed else {})
    before = {renamed(n, names["paths"]): path for n, path in artifacts(args.before).items()}
    after = artifacts(args.after)
    bad = [f"{name}: on one side only" for name in sorted(before.keys() ^ after.keys())]
    for name in sorted(before.keys() & after.keys()):
        if what := difference(name, before[name], after[name], names):
            bad.append(f"{name}: {what}")
    print(*bad, f"{len(before)} artifacts before, {len(bad)} differences", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
