"""Experts: Stable-Baselines3 PPO trained on single variants, as the ceiling of every judgement."""
