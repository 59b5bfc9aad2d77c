"""The executors, where training functions run: in this process, or on a Ray cluster."""
