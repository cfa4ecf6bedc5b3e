"""Pages for people: what to pay, the ticket, operations; drawn by the server, kept live by a few lines of script."""
