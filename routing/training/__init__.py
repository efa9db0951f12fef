"""The training loop of experts, learned routers and classifiers."""
