"""Regularisers."""
