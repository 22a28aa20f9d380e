"""The machine: shards in, columns beside them, shards out, on Dask."""
