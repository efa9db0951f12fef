"""Routing among independently trained diffusion experts."""
