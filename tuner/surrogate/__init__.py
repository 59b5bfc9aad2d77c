"""What the scores seen so far say of settings nobody has tried and of runs that are not over."""
