"""Checks of figures: the metrics that they show must be measured."""

from routing.config.checks.metric_names import row_names, row_pattern
from routing.config.checks.references import require_known


def check(spec: dict) -> None:
    """Every metric that a figure names is a row that an entry of `metrics.list` writes."""
    metrics = spec["metrics"]
    measured = [row for m in metrics["list"] for row in row_names(m, metrics, "metrics.list")]
    for name, figure in spec["figures"].items():
        for key in ("metric", "metrics"):
            shown = figure.get(key, ())
            for metric in [shown] if key == "metric" and shown else shown:
                if row_pattern(metric) not in measured:
                    require_known(f"figures.{name}.{key}", metric, measured)
