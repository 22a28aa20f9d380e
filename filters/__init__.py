"""Who stays: rules, duplicates and thresholds as functions on Arrow tables."""
