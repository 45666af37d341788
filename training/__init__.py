"""Training: the one Lightning module, what it is fed with, and the run folder that it leaves."""
