"""The command `hypnet data`."""
