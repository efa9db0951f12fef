"""The probability path, its samplers, and worlds with closed-form answers."""
