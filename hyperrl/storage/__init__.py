"""A run's folder: its settings, its checkpoint, and the agent that they make."""
