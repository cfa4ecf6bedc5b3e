"""Settings and the constants of known networks."""
