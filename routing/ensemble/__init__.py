"""The ensemble: routed velocity field, guidance, Gram matrix of expert errors, calibration."""
