"""Task sequences for continual learning."""
