"""A run's whole pool to look through in a browser, served on this machine alone."""
