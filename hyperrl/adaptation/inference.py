"""Play on unknown variants: an encoder infers the parameters from transitions, and weights are generated from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from hyperrl.agents import Agent
from hyperrl.agents.adam import Adam
from hyperrl.agents.encoder import Coordinate, Posterior, Rows, TransitionEncoder
from hyperrl.envs import Family, InputError, Parameter, VariantVectorEnv
from hyperrl.envs.actions import first
from hyperrl.play.actors import Actor, AgentActor, Transition, half_ranges, to_env_units
from hyperrl.play.episodes import START_SEED, play_once
from hyperrl.play.rollout import play_steps
from hyperrl.seeds import drawing, next_seed, numpy_generator, seed_of, torch_generator
from hyperrl.storage import checkpoint
from hyperrl.storage.agent import action_size
from hyperrl.storage.lock import writing
from hyperrl.storage.run import StoredRun, require_settings

FILE = "encoder.pt"
"""Its name in a run's folder."""
REMEDY = "remove it, and it is trained anew"
"""Where it cannot be read."""
UPDATES = 800
STEPS_AN_UPDATE = 500
"""Of the run's training, where that is short."""
BATCH = 512
LEARNING_RATE = 3e-3
RISE = 0.101
"""Share of the updates in which the learning rate rises."""
VARIANTS, COPIES, ROUNDS = 128, 2, 8
"""Of the transitions that are trained on; every round has fresh variants."""
LONGEST = 100
"""Steps of a round at the most."""
SHARE = 0.5
"""Transitions that are trained on for each step of the run's training, where that is short."""
CALIBRATION = 0.1
"""Share of the transitions by which the encoder's spread is calibrated."""
READ_EVERY = 16
"""Steps after which transitions are read, so that few have to be kept."""


class Effort(NamedTuple):
    """How much data and how many updates an encoder is trained with; see ``train_encoder``."""

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

    Its prior is uniform over the training ranges, the region held out from training included, and 0 within gaps.
    """
    space = family.action_space
    actions, observation = action_size(space), int(np.prod(family.observation_space.shape))
    known = [family.parameters[i] for i in family.inferable]
    parts = [(observation + actions, observation), (2 * observation + actions, 2)]
    with drawing("encoder weights"):
        return TransitionEncoder(parts, [_coordinate(parameter) for parameter in known])


def _coordinate(parameter: Parameter) -> Coordinate:
    """What is known of a parameter's coordinate."""
    low, high = parameter.coordinate(torch.tensor([-parameter.gap, parameter.gap])).tolist()
    gap = (low, high) if parameter.gap else None
    return Coordinate(bool(parameter.period), gap, parameter.wide != parameter.train)


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
        index = action.long() - first(family.action_space)
        action = nn.functional.one_hot(index, int(family.action_space.n)).to(obs.dtype)
    taken, change = torch.cat([obs, action], -1), after - obs
    return [(taken, change), (torch.cat([taken, change], -1), torch.stack([reward, reward.square()], -1))]


class Swapped(AgentActor):
    """Half of the copies act under the policy of another variant, the others under their own.

    That is what an agent sees that takes its variant for another one, and then learns which it is.
    """

    def begin(self, env: VariantVectorEnv) -> None:
        """Draw which copies act under another variant's policy, and generate the weights."""
        super().begin(env)
        variants, copies, device = env.num_variants, env.copies, env.device
        copy_TE = torch.arange(copies, device=device).expand(variants, -1)
        if variants > 1:
            shift_E = torch.randint(1, variants, (copies,), generator=self._generator, device=device)
        else:
            shift_E = torch.zeros(copies, dtype=torch.int64, device=device)
        shift_E[::2] = 0
        taker_TE = (torch.arange(variants, device=device).unsqueeze(1) + shift_E) % variants
        self._order = (taker_TE * copies + copy_TE).flatten()
        """Of whose policy each copy takes, in the rows of policies."""
        self._back = self._order.argsort()

    def act(self, obs_NO: Tensor) -> Tensor:
        """Act under the drawn policies."""
        return super().act(obs_NO[self._back])[self._order]

    def see(self, transition: Transition) -> None:
        """Hand the transition to the arm in the rows of policies."""
        super().see(transition.take(self._back))


@torch.no_grad()
def gather(
    agent: Agent, family: Family, seed: int, device: torch.device, rounds: int = ROUNDS, variants: int = VARIANTS
) -> tuple[Rows, Tensor]:
    """Transitions of training variants as ``Swapped`` plays them.

    Returns:
        Rows (B, S, ...) of B copies' steps, and their true coordinates (B, S, Z). Copies that met a number that is
        not finite are left out.

    Raises:
        InputError: all of them did.
    """
    rng, generator = numpy_generator("encoder variants", seed), torch_generator("encoder actions", seed, device=device)
    steps = min(LONGEST, family.max_episode_steps)
    size = family.at_once(COPIES, variants)
    rounds, variants = -(-rounds * variants // size), size
    env = family.in_process().vector(family.sample(variants, rng), COPIES, device, seed=seed_of("encoder starts", seed))
    obs, _ = env.reset()
    actor = Swapped(agent, family, generator)
    rounds_played, coordinates = [], []
    for round_ in range(rounds):
        if round_:
            obs = env.replace(family.sample(variants, rng), np.ones(variants, dtype=bool))
        actor.begin(env)
        transitions, z_SNZ = [], []
        z_NZ = _coordinates(family, env)
        for transition in play_steps(env, obs, actor, steps):
            transitions.append(transition)
            z_SNZ.append(z_NZ)
            z_NZ = _coordinates(family, env)
        obs = transitions[-1].after_NO
        columns = ("obs_NO", "action_N", "reward_N", "next_obs_NO")
        rounds_played.append([torch.stack([getattr(step, column) for step in transitions], 1) for column in columns])
        coordinates.append(torch.stack(z_SNZ, 1))
    env.close()
    obs, action, reward, after = (torch.cat(list(column)) for column in zip(*rounds_played, strict=True))
    finite_B = _finite(obs, reward, after).all(1)
    if not finite_B.any():
        raise InputError(f"family {family.name!r}: no episode of it is finite; mend its observations and rewards")
    played = (x[finite_B] for x in (obs, action, reward, after))
    return rows(family, *played), torch.cat(coordinates)[finite_B]


def _finite(obs: Tensor, reward: Tensor, after: Tensor) -> Tensor:
    """Whether all of a transition is finite: (...) from (..., O), (...), (..., O)."""
    return torch.cat([obs, reward.unsqueeze(-1), after], -1).isfinite().all(-1)


def _coordinates(family: Family, env: VariantVectorEnv) -> Tensor:
    """True coordinates (T * E, Z) of every copy."""
    return family.coordinates(env.variants_TP.float()).repeat_interleave(env.copies, 0)


def one_cycle(update: int, updates: int) -> tuple[float, float]:
    """Learning rate, in its largest value, and Adam's first beta at an update: one rises while the other falls.

    The "1cycle" policy (Smith and Topin, 2019), with half cosines as PyTorch's ``OneCycleLR``.
    """
    rise = RISE * updates - 1
    if update <= rise:
        share = update / rise
        return _between(1 / 25, 1.0, share), _between(0.95, 0.85, share)
    share = (update - rise) / (updates - 1 - rise)
    return _between(1.0, 4e-6, share), _between(0.85, 0.95, share)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


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
    parts, z_BSZ = gather(agent, family, seed, device, rounds, variants)
    kept = max(1, int(CALIBRATION * len(z_BSZ)))
    flat, z_NZ = [(x[kept:].flatten(0, 1), y[kept:].flatten(0, 1)) for x, y in parts], z_BSZ[kept:].flatten(0, 1)
    for part, (x, y) in zip(encoder.parts, flat, strict=True):
        part.set_scales(x, y)
    optimiser = Adam(list(encoder.parameters()), max_norm=1.0, eps=1e-8, weight_decay=1e-4)
    active = torch.ones((), device=device)
    generator = torch_generator("encoder minibatches", seed, device=device)
    for update in range(updates):
        i = torch.randint(len(z_NZ), (BATCH,), generator=generator, device=device)
        loss = encoder.loss([(x[i], y[i]) for x, y in flat], z_NZ[i])
        rate, beta_1 = one_cycle(update, updates)
        optimiser.step(*optimiser.gradient(loss), torch.tensor(LEARNING_RATE * rate, device=device), active, beta_1)
        if progress:
            progress(update + 1, updates)
    encoder.requires_grad_(False)
    held = encoder.read([(x[:kept], y[:kept]) for x, y in parts], torch.ones(z_BSZ[:kept].shape[:2], device=device))
    encoder.correct(held, z_BSZ[:kept, 0])
    # an agent that follows the encoder sees other states than those above
    played_TP = family.sample(variants, numpy_generator("encoder played variants", seed))
    play_seed = seed_of("encoder play", seed)
    size = family.at_once(1, variants)
    for part_TP in np.split(played_TP, range(size, variants, size)):
        held = held.joined(play_unknown(agent, family, encoder, part_TP, 1, 1, play_seed, device).belief.statistics)
    z_TZ = family.coordinates(torch.as_tensor(played_TP, dtype=torch.float32, device=device))
    encoder.correct(held, torch.cat([z_BSZ[:kept, 0], z_TZ]))
    return encoder


def save(encoder: TransitionEncoder, run: StoredRun) -> None:
    """Write the encoder of a run's best agent beside its checkpoint."""
    require_settings(run.folder)
    weights = {name: value.cpu() for name, value in encoder.state_dict().items()}
    checkpoint.save(run.folder / FILE, {"encoder": weights, **_owner(run)})


def _owner(run: StoredRun) -> dict[str, str]:
    """What an encoder belongs to: a run, and its best agent by now."""
    return {"run": run.identity, "agent": checkpoint.digest(run.agent.state_dict())}


def has_encoder(run: StoredRun) -> bool:
    """Whether the run's folder holds the encoder of its best agent, and not that of another one.

    Raises:
        InputError: the file is damaged, or no encoder.
    """
    path = run.folder / FILE
    if not path.exists():
        return False
    state = checkpoint.load(path, REMEDY)
    if not {"encoder", "run", "agent"} <= state.keys():
        raise InputError(f"{path}: not an encoder of family {run.family.name!r}; {REMEDY}")
    return {"run": state["run"], "agent": state["agent"]} == _owner(run)


def load(family: Family, folder: Path) -> TransitionEncoder:
    """Read a run's encoder.

    Raises:
        InputError: there is none, or it is damaged or another family's.
    """
    path = folder / FILE
    encoder = build_encoder(family)
    try:
        encoder.load_state_dict(checkpoint.load(path, REMEDY)["encoder"])
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise InputError(f"{path}: not an encoder of family {family.name!r}; {REMEDY}") from None
    return encoder.requires_grad_(False)


def encoder_of(run: StoredRun) -> TransitionEncoder:
    """The encoder of a run's best agent, on the CPU; where the run has none of that agent, it is trained and saved.

    It depends on the run's settings and best agent alone, and is trained on the run's device, or the CPU where that
    is not at hand, with the ``effort`` that its steps are worth.

    Raises:
        InputError: the family has nothing that could be inferred, or the file is damaged or cannot be written, as
            while the run is trained.
    """
    if not has_encoder(run):
        with writing(run.folder):
            if not has_encoder(run):  # another process may have come first
                write_encoder(run)
    return load(run.family, run.folder)


def write_encoder(run: StoredRun, progress: Callable[[int, int], None] | None = None) -> None:
    """Train the encoder of a run's best agent and save it; for who holds the run's lock.

    Args:
        run: the run.
        progress: as for ``train_encoder``.

    Raises:
        InputError: the family has nothing that could be inferred, or the file cannot be written.
    """
    device = run.config.device if torch.cuda.is_available() else "cpu"
    agent = copy.deepcopy(run.agent).to(device)
    cost = effort(run.family, run.config.steps)
    save(train_encoder(agent, run.family, run.config.seed, device, *cost, progress), run)


class Belief:
    """Posteriors over the parameters of B copies, each from the transitions of that copy."""

    def __init__(self, encoder: TransitionEncoder, family: Family, copies: int) -> None:
        self.encoder, self.family = encoder, family
        self.statistics = encoder.nothing(copies)
        self.posterior: Posterior = encoder.posterior(self.statistics)
        self._unread: list[tuple[Tensor, ...]] = []

    def see(self, obs: Tensor, action: Tensor, reward: Tensor, after: Tensor, seen: Tensor | None = None) -> None:
        """Take in one transition of each copy: observations (B, O), environment actions, rewards (B,), outcomes.

        ``seen`` (B,) is false where a copy has none.
        """
        seen = torch.ones_like(reward, dtype=torch.bool) if seen is None else seen
        self._unread.append((obs, action, reward, after, seen))
        if len(self._unread) == READ_EVERY:
            self._read()

    def take(self, obs: Tensor, action: Tensor, reward: Tensor, after: Tensor, seen_BN: Tensor) -> None:
        """Take in N transitions of each copy at once, as ``see`` takes one: (B, N, O), (B, N, ...), (B, N)."""
        seen_BN = seen_BN.bool() & _finite(obs, reward, after)
        taken = (
            torch.where(seen_BN.view(*seen_BN.shape, *[1] * (x.ndim - 2)), x, 0) for x in (obs, action, reward, after)
        )
        read = self.encoder.read(rows(self.family, *taken), seen_BN.float())
        self.statistics = self.statistics.plus(read)

    def _read(self) -> None:
        if self._unread:
            self.take(*(torch.stack(list(column), 1) for column in zip(*self._unread, strict=True)))
            self._unread = []

    def update(self) -> Posterior:
        """Compute the posterior from all transitions so far."""
        self._read()
        self.posterior = self.encoder.posterior(self.statistics)
        return self.posterior

    @property
    def mean_BP(self) -> Tensor:
        """Inferred variants in SI units; distractors in the middle of their training range."""
        return self.family.decode(self.posterior.mean_BZ)

    @property
    def std_BP(self) -> Tensor:
        """Their standard deviations in SI units; nan for distractors, which cannot be inferred."""
        std_BP = torch.full_like(self.mean_BP, torch.nan)
        for i, std_B in zip(self.family.inferable, self.posterior.std_BZ.unbind(1), strict=True):
            std_BP[:, i] = std_B * self.family.parameters[i].unit_coordinate
        return std_BP

    @property
    def context_BC(self) -> Tensor:
        """Expected contexts under the posterior."""
        draws_BMZ = self.posterior.draws_BMZ
        draws_BMP = self.family.decode(draws_BMZ.flatten(0, 1)).unflatten(0, draws_BMZ.shape[:2])
        return self.family.expected_context(draws_BMP, self.posterior.weight_BM)

    def generate(self, agent: Agent) -> Tensor:
        """The weights (B, D) of the policies for the inferred variants."""
        return agent.generate(self.context_BC)


class Believing(Actor):
    """Acts on unknown variants: weights are generated from the posterior over their parameters.

    The posterior is computed anew, and the weights generated again, after 1, 2, 4, 8, ... transitions and at the
    beginning of every episode.
    """

    def __init__(self, agent: Agent, family: Family, belief: Belief) -> None:
        self._agent, self._belief = agent, belief
        self._to_env = to_env_units(family.action_space, agent.normaliser.mean.device)
        self._taken = 0

    def begin(self, env: VariantVectorEnv) -> None:
        """Begin an episode of every copy."""
        self._alive_B = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self._weights_BD = self._belief.generate(self._agent)
        self._state_B1H = self._agent.begin(env.num_envs, 1)

    def act(self, obs_NO: Tensor) -> Tensor:
        """The most probable actions under the weights generated from the posterior."""
        distribution, self._state_B1H = self._agent.decide(self._weights_BD, obs_NO.unsqueeze(1), self._state_B1H)
        self._drawn_B1 = distribution.mode
        return self._to_env(self._drawn_B1).squeeze(1)

    def see(self, transition: Transition) -> None:
        """Update the posterior by a transition of each episode that goes on."""
        step = transition
        self._belief.see(step.obs_NO, step.action_N, step.reward_N, step.next_obs_NO, self._alive_B)
        self._state_B1H = self._agent.remember(self._state_B1H, self._drawn_B1, step.reward_N.unsqueeze(1))
        self._alive_B = self._alive_B & ~step.done_N
        self._taken += 1
        if math.log2(self._taken).is_integer():
            self._belief.update()
            self._weights_BD = self._belief.generate(self._agent)


class Unknown(NamedTuple):
    """Episodes on unknown variants: E copies of each variant, each with its own posterior."""

    returns_KTE: np.ndarray
    """Undiscounted, of the K episodes one after the other: the first of an agent that knows nothing."""
    lengths_KTE: np.ndarray
    mean_KTEP: np.ndarray
    """Inferred variants after each episode, in SI units."""
    std_KTEP: np.ndarray
    belief: Belief
    """After the last of them, of T * E copies."""


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
    """Play greedy episodes on unknown variants, all at once and in this process.

    Args:
        agent: the arm.
        family: its family.
        encoder: the agent's.
        variants_TP: true variants in SI units, which only the simulator sees.
        copies: E, copies of each variant.
        episodes: K, of each copy.
        seed: of the first episode's starts; the next one has the next.
        device: where to play.
        belief: to go on from, of T * E copies; that of an agent that knows nothing by default.
    """
    env = family.in_process().vector(variants_TP, copies, device, seed=seed)
    belief = belief or Belief(encoder, family, env.num_envs)
    actor = Believing(agent, family, belief)
    shape = (env.num_variants, copies)
    returns, lengths, means, deviations = [], [], [], []
    for episode in range(episodes):
        played = play_once(env, actor, next_seed(seed, episode))
        belief.update()
        returns.append(played.returns_TE)
        lengths.append(played.lengths_TE)
        means.append(belief.mean_BP.view(*shape, -1).cpu().numpy())
        deviations.append(belief.std_BP.view(*shape, -1).cpu().numpy())
    env.close()
    return Unknown(np.stack(returns), np.stack(lengths), np.stack(means), np.stack(deviations), belief)
