"""Pictures for a page or a notebook: each a value, made from the fold alone, that Bokeh draws without its server."""
