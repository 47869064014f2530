"""The command `hypnet search`."""
