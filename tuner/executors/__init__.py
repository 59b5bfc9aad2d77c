"""Where training functions run: `local.py` in this process, `ray.py` on a cluster, both to `messages.Executor`."""
