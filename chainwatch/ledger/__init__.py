"""The one place where facts, tickets and money are written."""
