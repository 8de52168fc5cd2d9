"""Transitions of a variant -> a distribution over its parameters."""

from hyperrl.agents.encoder.network import Rows, Statistics
from hyperrl.agents.encoder.posterior import Coordinate, Posterior, TransitionEncoder

__all__ = ["Coordinate", "Posterior", "Rows", "Statistics", "TransitionEncoder"]
