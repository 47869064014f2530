"""The state of a search on disk: journal, attempts and locks."""
