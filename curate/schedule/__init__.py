"""Runs by the clock: when they are due, one tick of one, and a process that does them."""
