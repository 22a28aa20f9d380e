"""The demonstration: a rendered pool with known faults, curated from end to end without a network."""
