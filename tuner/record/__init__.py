"""What happened, and what is true by it."""
