"""The scheduler of Ray clusters."""
