"""The verbs in Python, and what they hand out."""
