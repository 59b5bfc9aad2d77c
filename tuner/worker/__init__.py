"""What runs where training runs."""
