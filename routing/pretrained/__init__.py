"""Published networks, loaded from local files that the manifest describes."""
