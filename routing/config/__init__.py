"""The config of an experiment: typed sections, checks across keys, the plan and the schema."""
