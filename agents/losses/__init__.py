"""Losses and estimates, as pure functions."""
