"""Jobs, artifacts, provenance, random streams, devices and tables of choices."""
