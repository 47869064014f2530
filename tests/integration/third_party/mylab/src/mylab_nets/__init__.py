"""One component of each kind, and a sub-command."""
