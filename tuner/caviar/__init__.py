"""Many models in parallel."""
