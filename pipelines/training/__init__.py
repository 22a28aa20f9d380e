"""Filter networks and proxies: data, phases, steps, and the folder that a training leaves."""
