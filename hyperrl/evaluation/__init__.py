"""Judging: greedy returns on variants that were never seen, their statistics, and what was predicted of them."""
