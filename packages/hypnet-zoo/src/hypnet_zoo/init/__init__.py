"""Initialisation of hypernetworks."""
