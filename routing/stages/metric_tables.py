"""Stage metric_tables: all arms beside each other, with intervals, in long tables.

`metrics.parquet` has a row per arm and metric (run, arm, metric, value, lo, hi, se_sampling,
se_training, num_samples, num_trainings, note); `differences.parquet` the same metrics minus those
of the reference arm, paired by training and seed; `comparisons.parquet` every pair of arms, with
p-values corrected for their number (routing/statistics/comparisons.py); `replicates.parquet` and
`scores.parquet` what all are made of, of every arm. A value is the mean over the trainings. The
held-out real images are one more "arm", `heldout`. Intervals are jackknife intervals over blocks
of seeds with a part for the trainings (`routing.statistics.intervals`); they hold for this
sample size.
"""

import pandas as pd
import torch
from torch import Tensor

from routing.statistics.comparisons import Comparison, comparisons
from routing.statistics.intervals import jackknife_interval, paired_difference
from routing.workflow import seeds

ENDS = ["value", "lo", "hi", "se_sampling", "se_training", "num_samples", "num_training_seeds"]
COLUMNS = ["run", "arm", "metric", *ENDS, "note"]
HELDOUT = "heldout"
Replicates = dict[str, Tensor]  # by metric: [trainings, replicates]


def run(job) -> None:
    """Write `metrics`, `differences`, `comparisons`, `replicates` and `scores`."""
    spec = job.spec
    arms = [HELDOUT, *spec["arms"]]
    replicates = {arm: job.table("replicates", i) for i, arm in enumerate(arms)}
    draws = {arm: job.table("bootstrap", i) for i, arm in enumerate(arms)}
    scores = {arm: job.table("scores", i) for i, arm in enumerate(arms)}
    found = {arm: wide(table, "block") for arm, table in replicates.items()}
    drawn = {arm: wide(table, "draw") for arm, table in draws.items()}
    said = {arm: wide(table, "seed") for arm, table in scores.items()}
    sizes = {
        arm: dict(zip(t["metric"], t["num_samples"], strict=True)) for arm, t in replicates.items()
    }
    notes = {arm: noted(table) for arm, table in replicates.items()}
    refuse_unequal(sizes)
    run, reference = spec["run"], spec["reference_arm"]
    job.write_table("metrics", long_table(run, found, sizes, notes))
    job.write_table("differences", differences(run, found, sizes, reference))
    job.write_table("comparisons", compared(run, found, drawn, said, reference, spec["seed"]))
    job.write_table("replicates", joined(replicates))
    job.write_table("scores", joined(scores))


def refuse_unequal(sizes: dict[str, dict[str, int]]) -> None:
    """Raise ValueError if a metric was measured with other numbers of samples in two arms."""
    of_first: dict[str, str] = {}
    for arm in [arm for arm in sizes if arm != HELDOUT]:
        for metric, num in sizes[arm].items():
            first = of_first.setdefault(metric, arm)
            if num != sizes[first][metric]:
                raise ValueError(
                    f"{metric}: wanted as many samples of all arms, got {sizes[first][metric]} of "
                    f"{first!r} and {num} of {arm!r}; draw the same seeds for both"
                )


def wide(table: pd.DataFrame, column: str) -> Replicates:
    """By metric, the values [trainings, values of `column`]."""
    found = {}
    for metric, rows in table.groupby("metric", sort=False):
        values = rows.pivot(index="training_seed", columns=column, values="value")  # both in order
        found[metric] = torch.from_numpy(values.to_numpy(copy=True))
    return found


def noted(table: pd.DataFrame) -> dict[str, str]:
    """By metric, its note; what the trainings say differently one after the other."""
    notes = table.groupby("metric")["note"].unique()
    return {metric: "; ".join(note for note in each if note) for metric, each in notes.items()}


def long_table(
    run: str,
    found: dict[str, Replicates],
    sizes: dict[str, dict[str, int]],
    notes: dict[str, dict[str, str]],
) -> pd.DataFrame:
    """A row per arm and metric; `sizes` and `notes` by arm and metric."""
    rows = [
        [run, arm, metric, *jackknife_interval(v), sizes[arm][metric], len(v), notes[arm][metric]]
        for arm, values in found.items()
        for metric, v in values.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def differences(
    run: str, found: dict[str, Replicates], sizes: dict[str, dict[str, int]], reference: str
) -> pd.DataFrame:
    """Each arm minus the reference arm, paired; `heldout` has no seeds, so no row."""
    base = found[reference]
    rows = []
    for arm, values in found.items():
        if arm in (reference, HELDOUT):
            continue
        for metric, replicates in values.items():
            if metric not in base:
                continue
            interval = paired_difference(replicates, base[metric])
            size = sizes[arm][metric], len(replicates)
            rows.append([run, arm, reference, metric, *interval, *size])
    return pd.DataFrame(rows, columns=["run", "arm", "reference", "metric", *ENDS])


def compared(
    run: str,
    found: dict[str, Replicates],
    drawn: dict[str, Replicates],
    said: dict[str, Replicates],
    reference: str,
    root: int,
) -> pd.DataFrame:
    """Every pair of arms, metric by metric, each with a stream of its own."""
    arms = [arm for arm in found if arm != HELDOUT]
    rows = []
    for metric in dict.fromkeys(m for arm in arms for m in found[arm]):
        of = lambda sets: {a: sets[a][metric] for a in arms if metric in sets[a]}  # noqa: E731, B023
        values = of(found)
        if len(values) < 2:
            continue
        draws, scores = (s if len(s) == len(values) else None for s in (of(drawn), of(said)))
        if draws:  # behind the value itself
            draws = {arm: torch.cat([values[arm][:, :1], d], 1) for arm, d in draws.items()}
        rng = seeds.stream(root, "permutation", seeds.number(metric))
        for pair in comparisons(values, draws, scores, reference, rng):
            rows.append([run, metric, *pair])
    return pd.DataFrame(rows, columns=["run", "metric", *Comparison._fields])


def joined(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of all arms, with the column `arm` first."""
    parts = []
    for arm, table in tables.items():
        parts.append(table.drop(columns=["num_samples", "note"], errors="ignore"))
        parts[-1].insert(0, "arm", arm)
    return pd.concat(parts, ignore_index=True)
