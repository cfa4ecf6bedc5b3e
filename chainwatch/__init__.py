"""Payments on many chains become tickets, exactly once."""
