"""Stage metric_tables: the metrics of all arms in long tables, with intervals and p-values.

    metrics       a row per arm and metric: run, arm, metric, value, lo, hi, se_sampling,
                  se_training, num_samples, num_training_seeds, note
    differences   the same metrics minus those of the reference arm, paired by training seed and
                  sample seed
    comparisons   every pair of arms, with p-values corrected for the number of pairs
                  (routing/statistics/comparisons.py)
    replicates    the jackknife replicates of all arms
    scores        the values per sample of all arms

A value is the mean over the training seeds. The held-out real images are an arm too, `heldout`.
Intervals are jackknife intervals over blocks of seeds, with a part for the training seeds
(routing/statistics/jackknife.py); they hold for this number of samples. Fractions of the samples
have intervals of proportions instead (routing/statistics/proportions.py).
"""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from routing.statistics.comparisons import Comparison, pairwise_comparisons
from routing.statistics.intervals import paired_replicates
from routing.statistics.jackknife import jackknife_difference, jackknife_interval
from routing.statistics.proportions import (
    Proportion,
    proportion_difference,
    proportion_interval,
)
from routing.workflow import seeds

ESTIMATE = [
    "value",
    "lo",
    "hi",
    "se_sampling",
    "se_training",
    "num_samples",
    "num_training_seeds",
]
COLUMNS = ["run", "arm", "metric", *ESTIMATE, "note"]
HELDOUT = "heldout"
Proportions = dict[str, Proportion]  # by metric
Values = dict[str, Tensor]  # by metric: [training seeds, blocks, draws or seeds]


def run(job) -> None:
    """Write `metrics`, `differences`, `comparisons`, `replicates` and `scores`."""
    spec = job.spec
    arms = [HELDOUT, *spec["arms"]]
    replicate_tables = {arm: job.table("replicates", i) for i, arm in enumerate(arms)}
    draw_tables = {arm: job.table("bootstrap", i) for i, arm in enumerate(arms)}
    score_tables = {arm: job.table("scores", i) for i, arm in enumerate(arms)}
    replicates = {arm: values_by_metric(t, "block") for arm, t in replicate_tables.items()}
    draws = {arm: values_by_metric(t, "draw") for arm, t in draw_tables.items()}
    proportions = {
        arm: proportions_by_metric(replicate_tables[arm], t) for arm, t in score_tables.items()
    }
    scores = {
        arm: values_by_metric(t[~t["metric"].isin(proportions[arm])], "seed")
        for arm, t in score_tables.items()
    }
    sizes = {
        arm: dict(zip(t["metric"], t["num_samples"], strict=True))
        for arm, t in replicate_tables.items()
    }
    notes = {arm: notes_by_metric(table) for arm, table in replicate_tables.items()}
    check_equal_sizes(sizes)
    run, reference = spec["run"], spec["reference_arm"]
    job.write_table("metrics", metric_table(run, replicates, proportions, sizes, notes))
    differences = difference_table(run, replicates, proportions, sizes, reference)
    job.write_table("differences", differences)
    pairs = comparison_table(run, replicates, draws, scores, proportions, reference, spec["seed"])
    job.write_table("comparisons", pairs)
    job.write_table("replicates", concatenate(replicate_tables))
    job.write_table("scores", concatenate(score_tables))


def check_equal_sizes(sizes: dict[str, dict[str, int]]) -> None:
    """Raise ValueError if two arms have different numbers of samples for a metric."""
    first_arms: dict[str, str] = {}
    for arm in [arm for arm in sizes if arm != HELDOUT]:
        for metric, num in sizes[arm].items():
            first = first_arms.setdefault(metric, arm)
            if num != sizes[first][metric]:
                raise ValueError(
                    f"{metric}: wanted as many samples of all arms, got {sizes[first][metric]} of "
                    f"{first!r} and {num} of {arm!r}; draw the same seeds for both"
                )


def values_by_metric(table: pd.DataFrame, column: str) -> Values:
    """Return, by metric, the values [training seeds, values of `column`], both sorted."""
    values = {}
    for metric, rows in table.groupby("metric", sort=False):
        wide = rows.pivot(index="training_seed", columns=column, values="value")
        values[metric] = torch.from_numpy(wide.to_numpy(copy=True))
    return values


def proportions_by_metric(replicates: pd.DataFrame, scores: pd.DataFrame) -> Proportions:
    """Return, by metric, the samples that it counts, for metrics with a scale."""
    counted = scores[scores["value"] > 0].groupby("metric")
    found = {}
    for metric, rows in replicates[replicates["scale"].notna()].groupby("metric", sort=False):
        own = counted.get_group(metric) if metric in counted.groups else scores[:0]
        num = int(rows["num_samples"].iloc[0])
        positions = own["training_seed"].to_numpy() * num + own["seed"].to_numpy()
        scale = rows.groupby("training_seed")["scale"].first().to_numpy()
        found[metric] = Proportion(positions, num, scale)
    return found


def notes_by_metric(table: pd.DataFrame) -> dict[str, str]:
    """Return, by metric, its note; different notes of training seeds are joined."""
    notes = table.groupby("metric")["note"].unique()
    return {metric: "; ".join(note for note in each if note) for metric, each in notes.items()}


def metric_table(
    run: str,
    replicates: dict[str, Values],
    proportions: dict[str, Proportions],
    sizes: dict[str, dict[str, int]],
    notes: dict[str, dict[str, str]],
) -> pd.DataFrame:
    """Return a row per arm and metric; `sizes` and `notes` are by arm and metric."""
    rows = []
    for arm, values in replicates.items():
        for metric, v in values.items():
            counted = proportions[arm].get(metric)
            found = proportion_interval(counted, v) if counted else jackknife_interval(v)
            facts = sizes[arm][metric], len(v), notes[arm][metric]
            rows.append([run, arm, metric, *found, *facts])
    return pd.DataFrame(rows, columns=COLUMNS)


def difference_table(
    run: str,
    replicates: dict[str, Values],
    proportions: dict[str, Proportions],
    sizes: dict[str, dict[str, int]],
    reference: str,
) -> pd.DataFrame:
    """Return each arm minus the reference arm, paired. `heldout` has no seeds to pair by."""
    reference_values = replicates[reference]
    rows = []
    for arm, values in replicates.items():
        if arm in (reference, HELDOUT):
            continue
        for metric, v in values.items():
            if metric not in reference_values:
                continue
            pair = v, reference_values[metric]
            if metric in proportions[arm]:
                counted = proportions[arm][metric], proportions[reference][metric]
                interval = proportion_difference(*counted, paired_replicates(*pair))
            else:
                interval = jackknife_difference(*pair)
            rows.append([run, arm, reference, metric, *interval, sizes[arm][metric], len(v)])
    return pd.DataFrame(rows, columns=["run", "arm", "reference", "metric", *ESTIMATE])


def comparison_table(
    run: str,
    replicates: dict[str, Values],
    draws: dict[str, Values],
    scores: dict[str, Values],
    proportions: dict[str, Proportions],
    reference: str,
    root: int,
) -> pd.DataFrame:
    """Return every pair of arms for every metric. Each metric has a random stream of its own."""
    arms = [arm for arm in replicates if arm != HELDOUT]
    rows = []
    for metric in dict.fromkeys(m for arm in arms for m in replicates[arm]):
        values = of_metric(replicates, arms, metric)
        if len(values) < 2:
            continue
        some_draws, some_scores = (of_metric(by_arm, arms, metric) for by_arm in (draws, scores))
        if len(some_draws) != len(values):
            some_draws = None
        else:  # the value itself comes first
            some_draws = {
                arm: torch.cat([values[arm][:, :1], d], 1) for arm, d in some_draws.items()
            }
        some_scores = some_scores if len(some_scores) == len(values) else None
        rng = seeds.stream(root, "permutation", seeds.name_to_int(metric))
        counted = of_metric(proportions, arms, metric) or None
        for pair in pairwise_comparisons(values, some_draws, some_scores, reference, rng, counted):
            rows.append([run, metric, *pair])
    return pd.DataFrame(rows, columns=["run", "metric", *Comparison._fields])


def of_metric(by_arm: dict[str, dict], arms: list[str], metric: str) -> dict[str, Any]:
    """Return the values of one metric by arm, for the arms that have it."""
    return {arm: by_arm[arm][metric] for arm in arms if metric in by_arm[arm]}


def concatenate(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of all arms as one, with the column `arm` first."""
    parts = []
    for arm, table in tables.items():
        parts.append(table.drop(columns=["num_samples", "note", "scale"], errors="ignore"))
        parts[-1].insert(0, "arm", arm)
    return pd.concat(parts, ignore_index=True)
