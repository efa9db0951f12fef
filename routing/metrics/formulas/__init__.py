"""The formulas behind the metrics: arrays in, numbers out."""
