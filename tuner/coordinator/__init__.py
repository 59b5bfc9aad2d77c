"""The one loop that runs a study."""
