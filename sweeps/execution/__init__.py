"""How trials run: Ray, warm slots, workers, checkpoints, Ctrl-C."""
