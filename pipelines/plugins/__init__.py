"""Scorers, filters and rules of the user's own: from a file that the configuration names, or installed."""
