"""The `hypnet` command, one file per sub-command."""
