"""Published networks, loaded from files that the manifest describes."""
