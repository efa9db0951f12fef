"""Jobs, artifacts with provenance, code digests, random streams, devices and choices."""
