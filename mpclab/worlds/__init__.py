"""Where machines run: the simulated world, and the real ones."""
