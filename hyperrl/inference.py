"""Playing where the parameters are unknown: transitions are read, parameters inferred, weights generated from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from hyperrl import checkpoint
from hyperrl.agents import Agent
from hyperrl.agents.actor_critic import sample
from hyperrl.agents.encoder import Posterior, Rows, TransitionEncoder
from hyperrl.envs import Family, InputError
from hyperrl.episodes import START_SEED
from hyperrl.rollout import half_ranges, to_env_units

if TYPE_CHECKING:
    from hyperrl.run import Run

FILE = "encoder.pt"
"""Its name in a run's folder."""
UPDATES = 800
STEPS_AN_UPDATE = 500
"""Of the run's training, where that is short."""
BATCH = 512
LEARNING_RATE = 3e-3
VARIANTS, COPIES, ROUNDS = 128, 2, 8
"""Of the transitions that are trained on; every round has fresh variants."""
LONGEST = 100
"""Steps of a round at the most."""
SHARE = 0.5
"""Transitions that are trained on for each step of the run's training, where that is short."""
CALIBRATION = 0.1
"""Share of the transitions from which it is learned how sure the encoder may be."""
READ_EVERY = 16
"""Steps after which transitions are read, so that few have to be kept."""


class Effort(NamedTuple):
    """What goes into an encoder; see ``train_encoder``."""

    updates: int = UPDATES
    rounds: int = ROUNDS
    variants: int = VARIANTS

    def steps(self, family: Family) -> int:
        """Environment steps at the most: those trained on, and an episode of each variant of one round."""
        each = self.rounds * COPIES * min(LONGEST, family.max_episode_steps) + family.max_episode_steps
        return self.variants * each


def effort(family: Family, steps: int) -> Effort:
    """What a run of ``steps`` environment steps spends on its encoder: as much as any, or less where it was short.

    One update for every ``STEPS_AN_UPDATE`` of them up to ``UPDATES``, and transitions of as many variants as give
    ``SHARE`` of them, between 2 and ``ROUNDS`` x ``VARIANTS``.
    """
    each = COPIES * min(LONGEST, family.max_episode_steps)
    variants = min(max(int(SHARE * steps) // each, 2), ROUNDS * VARIANTS)
    rounds = -(-variants // VARIANTS)
    return Effort(min(max(steps // STEPS_AN_UPDATE, 1), UPDATES), rounds, variants // rounds)


def build_encoder(family: Family) -> TransitionEncoder:
    """An encoder of the family's transitions, its first weights always the same.

    Its prior is uniform over the training ranges, gaps and the region held out from training included.
    """
    space = family.action_space
    actions = int(np.prod(space.shape)) if isinstance(space, Box) else int(space.n)
    observation = int(np.prod(family.observation_space.shape))
    known = [family.parameters[i] for i in family.inferable]
    parts = [(observation + actions, observation), (2 * observation + actions, 2)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransitionEncoder(parts, [bool(p.period) for p in known])


def rows(family: Family, obs: Tensor, action: Tensor, reward: Tensor, after: Tensor) -> Rows:
    """Transitions as the encoder takes them: what the action did, and what that paid.

    The reward comes with its square: a distance is a root, and only its square a short sum of products.

    Args:
        family: the task.
        obs: (..., O).
        action: the environment's, (...) or (..., A).
        reward: (...).
        after: what the action led to (..., O).
    """
    if isinstance(family.action_space, Box):
        centre, half = (end.to(obs.device) for end in half_ranges(family.action_space))
        action = (action - centre) / half
    else:
        action = nn.functional.one_hot(action.long(), int(family.action_space.n)).to(obs.dtype)
    taken, change = torch.cat([obs, action], -1), after - obs
    return [(taken, change), (torch.cat([taken, change], -1), torch.stack([reward, reward.square()], -1))]


@torch.no_grad()
def gather(
    agent: Agent, family: Family, seed: int, device: torch.device, rounds: int = ROUNDS, variants: int = VARIANTS
) -> tuple[Rows, Tensor]:
    """Transitions of training variants under other variants' policies, every other copy under its own.

    That is what an agent sees that takes its plant for another one, and then learns which it is.

    Returns:
        Rows (B, S, ...) of B copies' steps, and their true coordinates (B, S, Z).
    """
    rng = np.random.default_rng((seed, 0, 2))  # the last number keeps the draws from those of training and splits
    generator = torch.Generator(device).manual_seed(seed)
    steps, to_env = min(LONGEST, family.max_episode_steps), to_env_units(family.action_space, device)
    env = family.in_process().vector(family.sample(variants, rng), COPIES, device, seed=seed)
    obs, _ = env.reset(seed=seed)
    copy_TE = torch.arange(COPIES, device=device).expand(variants, -1)
    told, coordinates = [], []
    for round_ in range(rounds):
        if round_:
            obs = env.replace(family.sample(variants, rng), np.ones(variants, dtype=bool))
        shift_E = (
            torch.randint(1, variants, (COPIES,), generator=generator, device=device) if variants > 1 else copy_TE[0]
        )
        shift_E[::2] = 0
        taker_TE = (torch.arange(variants, device=device).unsqueeze(1) + shift_E) % variants
        order = (taker_TE * COPIES + copy_TE).flatten()  # of whose policy each copy takes, in the rows of policies
        back = order.argsort()
        weights_TD = agent.generate(family.encode(env.variants_TP.float()))
        columns = []
        for _ in range(steps):
            distribution, _ = agent(weights_TD, obs[back].view(variants, COPIES, -1))
            action = to_env(sample(distribution, generator)).flatten(0, 1)[order]
            z = family.coordinates(env.variants_TP.float()).repeat_interleave(COPIES, 0)
            after, reward, _, _, info = env.step(action)
            columns.append((obs, action, reward, info["final_obs"], z))
            obs = after
        *transition, z = (torch.stack(list(column), 1) for column in zip(*columns, strict=True))
        told.append(transition)
        coordinates.append(z)
    env.close()
    return rows(family, *(torch.cat(list(column)) for column in zip(*told, strict=True))), torch.cat(coordinates)


def train_encoder(
    agent: Agent,
    family: Family,
    seed: int = 0,
    device: str | torch.device = "cpu",
    updates: int = UPDATES,
    rounds: int = ROUNDS,
    variants: int = VARIANTS,
    progress: Callable[[int, int], None] | None = None,
) -> TransitionEncoder:
    """Train an encoder on transitions of the family's training variants, played by the agent.

    That takes further environment steps, ``Effort.steps`` at the most: by default 204,800, and 128 episodes.

    Args:
        agent: trained; only asked for weights and actions.
        family: its family.
        seed: of variants, starts, actions and minibatches.
        device: the agent's.
        updates: minibatches.
        rounds: of collecting transitions, with fresh variants each.
        variants: of each round.
        progress: called with the updates made and ``updates``, after each.

    Returns:
        The encoder, whose parameters no longer ask for gradients.

    Raises:
        InputError: the family has no parameter that could be inferred.
    """
    if not family.inferable:
        raise InputError(f"family {family.name!r}: every parameter is a distractor, there is nothing to infer")
    device = torch.device(device)
    encoder = build_encoder(family).to(device)
    told, z_BSZ = gather(agent, family, seed, device, rounds, variants)
    kept = max(1, int(CALIBRATION * len(z_BSZ)))
    flat, z_NZ = [(x[kept:].flatten(0, 1), y[kept:].flatten(0, 1)) for x, y in told], z_BSZ[kept:].flatten(0, 1)
    for part, (x, y) in zip(encoder.parts, flat, strict=True):
        part.set_scales(x, y)
    optimiser = torch.optim.AdamW(encoder.parameters(), LEARNING_RATE, weight_decay=1e-4, fused=True)
    # not 0.1, at which OneCycleLR divides by 0 where there are 10 updates
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, updates, pct_start=0.101)
    generator = torch.Generator(device).manual_seed(seed)
    for update in range(updates):
        i = torch.randint(len(z_NZ), (BATCH,), generator=generator, device=device)
        loss = encoder.loss([(x[i], y[i]) for x, y in flat], z_NZ[i])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress:
            progress(update + 1, updates)
    encoder.requires_grad_(False)
    held = encoder.read([(x[:kept], y[:kept]) for x, y in told], torch.ones(z_BSZ[:kept].shape[:2], device=device))
    encoder.correct(held, z_BSZ[:kept, 0])
    # an agent that follows the encoder sees other states than those above
    played_TP = family.sample(variants, np.random.default_rng((seed, 1, 2)))
    played = play_unknown(agent, family, encoder, played_TP, 1, 1, seed, device).belief.statistics
    z_TZ = family.coordinates(torch.as_tensor(played_TP, dtype=torch.float32, device=device))
    encoder.correct(held.joined(played), torch.cat([z_BSZ[:kept, 0], z_TZ]))
    return encoder


def save(encoder: TransitionEncoder, folder: Path) -> None:
    """Write the encoder beside a run's checkpoint."""
    checkpoint.save(folder / FILE, {"encoder": {name: value.cpu() for name, value in encoder.state_dict().items()}})


def load(family: Family, folder: Path) -> TransitionEncoder:
    """Read a run's encoder.

    Raises:
        InputError: there is none, or it is damaged or another family's.
    """
    path, remedy = folder / FILE, "remove it, and it is trained anew"
    encoder = build_encoder(family)
    try:
        encoder.load_state_dict(checkpoint.load(path, remedy)["encoder"])
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise InputError(f"{path}: not an encoder of family {family.name!r}; {remedy}") from None
    return encoder.requires_grad_(False)


def encoder_of(run: Run, progress: Callable[[int, int], None] | None = None) -> TransitionEncoder:
    """The encoder of a run's best agent, on the CPU; where the run has none, it is trained and saved first.

    It depends on the run's settings and best agent alone, and is trained on the run's device, or the CPU where that
    is not at hand, with the ``effort`` that its steps are worth.

    Raises:
        InputError: the family has nothing that could be inferred, or the file is damaged or cannot be written.
    """
    if not (run.folder / FILE).exists():
        checkpoint.require_writable(run.folder)
        device = run.config.device if torch.cuda.is_available() else "cpu"
        agent = copy.deepcopy(run.agent).to(device)
        cost = effort(run.family, run.config.steps)
        save(train_encoder(agent, run.family, run.config.seed, device, *cost, progress), run.folder)
    return load(run.family, run.folder)


class Belief:
    """What was read of B plants, each with parameters of its own, and what is believed of them."""

    def __init__(self, encoder: TransitionEncoder, family: Family, plants: int) -> None:
        self.encoder, self.family = encoder, family
        self.statistics = encoder.nothing(plants)
        self.posterior: Posterior = encoder.posterior(self.statistics)
        self._unread: list[tuple[Tensor, ...]] = []

    def see(self, obs: Tensor, action: Tensor, reward: Tensor, after: Tensor, seen: Tensor | None = None) -> None:
        """Take in one transition of each plant: observations (B, O), environment actions, rewards (B,), outcomes.

        ``seen`` (B,) is false where a plant's is none.
        """
        seen = torch.ones_like(reward, dtype=torch.bool) if seen is None else seen
        self._unread.append((obs, action, reward, after, seen))
        if len(self._unread) == READ_EVERY:
            self._read()

    def take(self, obs: Tensor, action: Tensor, reward: Tensor, after: Tensor, seen_BN: Tensor) -> None:
        """Take in N transitions of each plant at once, as ``see`` takes one: (B, N, O), (B, N, ...), (B, N)."""
        told = self.encoder.read(rows(self.family, obs, action, reward, after), seen_BN.float())
        self.statistics = self.statistics.plus(told)

    def _read(self) -> None:
        if self._unread:
            self.take(*(torch.stack(list(column), 1) for column in zip(*self._unread, strict=True)))
            self._unread = []

    def update(self) -> Posterior:
        """Infer anew from all that was seen."""
        self._read()
        self.posterior = self.encoder.posterior(self.statistics)
        return self.posterior

    @property
    def mean_BP(self) -> Tensor:
        """Inferred variants in SI units; distractors in the middle of their training range."""
        return self.family.decode(self.posterior.mean_BZ)

    @property
    def std_BP(self) -> Tensor:
        """Their deviations in SI units; nan for distractors, of which nothing can be known."""
        std_BP = torch.full_like(self.mean_BP, torch.nan)
        for i, std_B in zip(self.family.inferable, self.posterior.std_BZ.unbind(1), strict=True):
            std_BP[:, i] = std_B * self.family.parameters[i].unit_coordinate
        return std_BP

    @property
    def context_BC(self) -> Tensor:
        """Contexts expected from what is believed."""
        draws_BMZ = self.posterior.draws_BMZ
        draws_BMP = self.family.decode(draws_BMZ.flatten(0, 1)).unflatten(0, draws_BMZ.shape[:2])
        return self.family.expected_context(draws_BMP, self.posterior.weight_BM)

    def generate(self, agent: Agent) -> Tensor:
        """The weights (B, D) of the policies for the inferred variants."""
        return agent.generate(self.context_BC)


class Unknown(NamedTuple):
    """What episodes gave on variants that the agent was not told: E plants of each variant, each read on its own."""

    returns_KTE: np.ndarray
    """Undiscounted, of the K episodes one after the other: the first of an agent that knows nothing."""
    lengths_KTE: np.ndarray
    mean_KTEP: np.ndarray
    """Inferred variants after each episode, in SI units."""
    std_KTEP: np.ndarray
    belief: Belief
    """After the last of them, of T * E plants."""


@torch.no_grad()
def play_unknown(
    agent: Agent,
    family: Family,
    encoder: TransitionEncoder,
    variants_TP: np.ndarray,
    copies: int = 1,
    episodes: int = 2,
    seed: int = START_SEED,
    device: str | torch.device = "cpu",
    belief: Belief | None = None,
) -> Unknown:
    """Play greedy episodes on variants that the agent is not told, all at once and in this process.

    What is believed is inferred anew, and the weights generated again, after 1, 2, 4, 8, ... transitions and before
    every episode.

    Args:
        agent: the arm.
        family: its family.
        encoder: the agent's.
        variants_TP: true variants in SI units, which only the simulator sees.
        copies: E, plants of each variant.
        episodes: K, of each plant.
        seed: of the first episode's starts; the next one has the next.
        device: where to play.
        belief: to go on from, of T * E plants; that of an agent that knows nothing by default.
    """
    env = family.in_process().vector(variants_TP, copies, device, seed=seed)
    to_env = to_env_units(family.action_space, env.device)
    belief = belief or Belief(encoder, family, env.num_envs)
    shape, taken, played = (env.num_variants, copies), 0, []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode, options={"paired": True, "once": True})
        alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
        lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        weights_BD = belief.generate(agent)
        for step in range(family.max_episode_steps):
            distribution, _ = agent(weights_BD, obs.unsqueeze(1))
            action = to_env(distribution.mode).squeeze(1)
            after, reward, terminated, truncated, info = env.step(action)
            belief.see(obs, action, reward, info["final_obs"], alive)
            returns += reward * alive
            lengths += alive
            alive = alive & ~(terminated | truncated)
            obs, taken = after, taken + 1
            if math.log2(taken).is_integer():
                belief.update()
                weights_BD = belief.generate(agent)
            if step % 32 == 31 and not alive.any():
                break
        belief.update()
        found = (
            returns.view(shape),
            lengths.view(shape),
            *(x.view(*shape, -1) for x in (belief.mean_BP, belief.std_BP)),
        )
        played.append([x.cpu().numpy() for x in found])
    env.close()
    returns_KTE, lengths_KTE, mean_KTEP, std_KTEP = (np.stack(list(column)) for column in zip(*played, strict=True))
    return Unknown(returns_KTE, lengths_KTE, mean_KTEP, std_KTEP, belief)
