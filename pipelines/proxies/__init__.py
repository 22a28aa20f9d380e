"""Small trainings that tell what data is worth: buckets, proxies, the ranking of filters."""
