"""Adaptation: what a few episodes on a variant itself add; parameters inferred, contexts tried, weights learned."""
