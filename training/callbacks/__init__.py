"""Act during a run besides its steps, each task in a callback of its own; `training.loop` says when each one acts."""
