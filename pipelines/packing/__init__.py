"""From images in folders, tables of paths, or tables with images inside, to shards."""
