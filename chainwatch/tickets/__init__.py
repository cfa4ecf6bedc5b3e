"""What a ticket is and what is owed."""
