"""Programs of any kind as training functions: a command, its settings filled in, and scores read off what it prints."""
