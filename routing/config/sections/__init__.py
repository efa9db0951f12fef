"""The sections of the config, one typed model per file; the text under a key documents it."""
