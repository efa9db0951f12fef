"""What several figures share: arms and their looks, axes, labels, words and inputs."""
