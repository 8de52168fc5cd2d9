"""Adaptation to a variant from a few episodes: inference of parameters, search of contexts, learning of weights."""
