"""The ensemble: routed velocity field, guidance, expert errors, calibration."""
