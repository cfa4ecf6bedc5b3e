"""What a wallet signs to come in, and who may."""
