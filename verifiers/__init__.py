"""Is this signature by this wallet?  Pure functions: no I/O, no clock, no database."""
