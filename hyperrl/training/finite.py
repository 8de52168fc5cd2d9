"""Numbers of a rollout that are not finite, or too large to be squared: nothing can be learned from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.envs import Family, InputError
from hyperrl.play.rollout import Rollout

LARGEST = 1e15
"""Size of an observation, a reward or a running return at the most: sums of their squares must fit float32, and one
such number would be the scale of all others for the rest of a run."""


class Unusable(InputError):
    """A rollout or a loss that nothing can be learned from; the agent is as it was before the iteration."""


def whole(agent: nn.Module) -> bool:
    """Whether every number of an agent is finite; waits for the device."""
    return all(bool(value.isfinite().all()) for value in agent.state_dict().values())


def usable(rollout: Rollout, discounted_STE: Tensor) -> Tensor:
    """Whether all numbers of a rollout are finite and at most ``LARGEST`` in size: a boolean on its device."""
    return torch.stack([(x.abs() <= LARGEST).all() for x in _numbers(rollout, discounted_STE).values()]).all()


def first_unusable(rollout: Rollout, discounted_STE: Tensor, family: Family, variants_TP: Tensor, before: int) -> str:
    """The first of the other numbers, with its step and variant, in one line.

    Args:
        rollout: one that is not usable.
        discounted_STE: its running discounted sums of rewards.
        family: the task.
        variants_TP: what was played.
        before: environment steps before the rollout.
    """
    found = []
    for order, (what, x_STEM) in enumerate(_numbers(rollout, discounted_STE).items()):
        for s, t, e, m in (~(x_STEM.abs() <= LARGEST)).nonzero()[:1].tolist():
            entry = f"[{m}]" if x_STEM.shape[-1] > 1 else ""
            found.append((s, order, t, f"{what}{entry}={float(x_STEM[s, t, e, m]):g}"))
    s, _, t, number = min(found)
    step = before + (s + 1) * rollout.reward_STE[0].numel()
    return (
        f"{number} at step {step:,}, {family.spelled(variants_TP[t].tolist())}: must be finite and at most {LARGEST:g} "
        f"in size; mend family {family.name!r} there"
    )


def _numbers(rollout: Rollout, discounted_STE: Tensor) -> dict[str, Tensor]:
    """What is learned from, each (S, T, E, entries).

    What an episode terminates in is read by no network: it may be anything, as where a simulator has failed.
    """
    terminated_STE1 = rollout.terminated_STE.unsqueeze(-1)
    return {
        "observation": rollout.obs_STEO,
        "reward": rollout.reward_STE.unsqueeze(-1),
        "next observation": torch.where(terminated_STE1, 0.0, rollout.next_obs_STEO),
        "return": discounted_STE.unsqueeze(-1),
    }
