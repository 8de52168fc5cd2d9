"""Arms: one file for each agent under comparison."""
