"""What a search has learned, and how sure that is."""
