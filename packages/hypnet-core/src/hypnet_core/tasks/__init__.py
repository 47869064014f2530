"""Tasks, their splits and batches."""
