"""What a run does besides its steps, each in a callback of its own; `training.loop` says when each one acts."""
