"""The configuration of an experiment: typed models, checks across keys, and the resolved plan."""
