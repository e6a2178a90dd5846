"""What brings a database from one schema to the next, and back."""
