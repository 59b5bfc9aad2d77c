"""One model, watched."""
