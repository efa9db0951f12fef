"""Code that several figures use: their inputs, styles, layout, labels and tables."""
