"""Figures and tables, one file each; what several share is in `shared`."""
