"""The probability path, ODE and SDE samplers, divergences, and exact worlds."""
