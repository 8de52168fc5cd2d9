"""The shipped tasks: one file for each physics, with its parameters and families."""
