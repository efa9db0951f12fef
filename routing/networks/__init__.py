"""Networks that the pipeline trains."""
