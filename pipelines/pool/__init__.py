"""What comes in: shards, tars, Parquet tables and the vectors beside them."""
