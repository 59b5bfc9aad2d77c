"""The insight of a search: what it has learned, and how sure that is."""
