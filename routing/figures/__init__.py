"""Figures and text tables, one file each; code that several use is in `shared`."""
