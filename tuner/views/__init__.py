"""How a study reads and looks."""
