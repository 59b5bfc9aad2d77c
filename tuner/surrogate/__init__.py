"""The surrogate of training: what the scores so far say of settings nobody has tried and of runs that are not over."""
