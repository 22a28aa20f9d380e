"""The commands of `curate`, a module for each group; `curate/cli.py` puts them together."""
