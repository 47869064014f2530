"""Small synthetic problems."""
