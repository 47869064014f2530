"""Weights from outside, main networks and hypernetworks."""
