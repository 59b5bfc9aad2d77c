"""The record of a study, and what is true by it."""
