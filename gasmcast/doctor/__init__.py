"""What this machine can do, and what would help."""
