"""What the loop and its policies say to one another."""
