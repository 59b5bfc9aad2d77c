"""The words between the loop and its policies."""
