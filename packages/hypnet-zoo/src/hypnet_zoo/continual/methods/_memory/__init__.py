"""Kept samples of earlier tasks."""
