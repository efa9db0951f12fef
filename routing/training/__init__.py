"""The training loop of experts, routers and classifiers."""
