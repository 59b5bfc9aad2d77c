"""The worker: all that runs where training runs."""
