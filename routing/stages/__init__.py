"""The stages of the pipeline, one module with `run(job)` for each rule file."""
