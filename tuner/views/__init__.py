"""The views of a study: as text, on a terminal, in a notebook, as pictures and pages."""
