"""The page: the studies as a person sees and steers them in a browser; it keeps nothing of who looks."""
