"""Any Gymnasium environment as a family: which environment, which parameters, and how each is applied.

Gymnasium's ``SyncVectorEnv`` or ``AsyncVectorEnv`` steps the copies, each with its context.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from hyperrl.envs.actions import first, fitting
from hyperrl.envs.errors import OTHERS_ERRORS, InputError, number, one_line, origin
from hyperrl.envs.family import Family
from hyperrl.envs.finite import require_finite
from hyperrl.envs.journal import Journal
from hyperrl.envs.processes import Processes, uninterrupted
from hyperrl.envs.single import SingleEnv
from hyperrl.envs.vector import VariantVectorEnv


@dataclass(frozen=True)
class Attribute:
    """A parameter that is an attribute of the environment, ``"masscart"`` or ``"world.friction"``."""

    path: str
    """From ``env.unwrapped``."""

    def __call__(self, env: Any, value: float) -> None:
        """Set the attribute.

        Raises:
            InputError: the environment has no such attribute.
        """
        owner, leaf = _owner(env, self.path)
        setattr(owner, leaf, value)


@dataclass(frozen=True)
class Argument:
    """A parameter that is an argument of the environment's constructor.

    It acts from the next reset on, which builds the environment anew if the value has changed.
    """

    name: str
    """Keyword of the constructor."""


@dataclass(frozen=True)
class ModelField:
    """A parameter that is a field of a MuJoCo model, ``ModelField("opt.gravity", index=2)``.

    Model edits survive a reset, so each value is computed from the nominal one, read when the model was built.
    """

    path: str
    """From ``env.unwrapped.model``."""
    index: Any = ...
    """Which entries, as NumPy indexes; all of them by default."""
    scale: bool = False
    """Whether the value multiplies the nominal one; else it replaces it."""

    def read(self, env: Any) -> np.ndarray:
        """A copy of the field.

        Raises:
            InputError: the model has no such field.
        """
        owner, leaf = _owner(env, f"model.{self.path}")
        return np.array(getattr(owner, leaf))

    def write(self, env: Any, value: float, nominal: np.ndarray) -> None:
        """Set the entries to the value, or to the value times ``nominal``, the unchanged field."""
        owner, leaf = _owner(env, f"model.{self.path}")
        entries = nominal.copy()
        entries[self.index] = entries[self.index] * value if self.scale else value
        if entries.ndim:
            getattr(owner, leaf)[self.index] = entries[self.index]
        else:
            setattr(owner, leaf, entries.item())


How = Attribute | Argument | ModelField | Callable[[Any, float], None]
"""How a parameter is applied; a function takes ``env.unwrapped`` and the value."""


def _owner(env: Any, path: str) -> tuple[Any, str]:
    """The object that holds the last attribute of a dotted path, and that attribute's name."""
    *heads, leaf = path.split(".")
    owner = env
    for name in (*heads, leaf):
        if not hasattr(owner, name):
            raise InputError(f"{path}: {type(env).__name__} has no such attribute ({name!r} is missing); mend `apply`")
        owner, last = getattr(owner, name), owner
    return last, leaf


def _with_statistics(env: gymnasium.Env) -> Iterator[str]:
    """Names of the wrappers that keep means and variances, as ``NormalizeObservation`` does."""
    while isinstance(env, gymnasium.Wrapper):
        if any(
            hasattr(value, "mean") and hasattr(value, "var") and hasattr(value, "count") for value in vars(env).values()
        ):
            yield type(env).__name__
        env = env.env


@dataclass(frozen=True, eq=False, kw_only=True)
class GymnasiumFamily(Family):
    """Variants of any Gymnasium environment with a Box of shape (O,) as observations.

    Functions, attributes and model fields are applied at once when a context is set, and again after every reset,
    because a reset may rebuild the objects that they change. Arguments act from the next reset on.

    Raises:
        InputError: a parameter is not in ``apply``, ``apply`` names something else, or the environment cannot be built.
    """

    make: str | Callable[..., gymnasium.Env]
    """Id of a registered environment, or ``make(render_mode=None, **arguments)``, which gets a ``render_mode`` only
    where frames are wanted. The time limit of an id is not applied by Gymnasium; ``max_episode_steps`` replaces it."""
    apply: Mapping[str, How] = field(default_factory=dict)
    """Parameter name -> how it is applied. Distractors are not in it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor that are the same for every variant."""
    derive: Callable[[Any], None] | None = None
    """Called with ``env.unwrapped`` after the parameters are set: computes attributes derived from them."""
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of every reset; those that a reset is given are added to them."""
    vectorization: str = "sync"
    """``"sync"``: all copies in this process; ``"async"``: a process for each copy."""
    simulators: int = 32
    """Number of environments that are alive at once where episodes are judged; training has its own besides."""
    observation_space: gymnasium.spaces.Box = None  # type: ignore[assignment]
    """Read from the environment unless given; so are the next two."""
    action_space: gymnasium.spaces.Box | gymnasium.spaces.Discrete = None  # type: ignore[assignment]
    max_episode_steps: int = 0
    drawn: bool = field(init=False, default=False)
    """Whether the environment renders frames."""
    own_statistics: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self._check_parameters()
        self._check_apply()
        for name in ("apply", "arguments", "reset_options"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        env = self.build()
        object.__setattr__(self, "own_statistics", tuple(_with_statistics(env)))
        limit = gymnasium.spec(self.make).max_episode_steps if isinstance(self.make, str) else None
        limit = limit or (env.spec.max_episode_steps if env.spec else None)
        if not self.max_episode_steps and not limit:
            env.close()
            raise InputError(f"family {self.name!r}: its environment has no time limit; give max_episode_steps")
        object.__setattr__(self, "observation_space", self.observation_space or env.observation_space)
        object.__setattr__(self, "action_space", self.action_space or env.action_space)
        object.__setattr__(self, "max_episode_steps", self.max_episode_steps or limit)
        object.__setattr__(self, "drawn", "rgb_array" in (env.metadata.get("render_modes") or []))
        env.close()
        super().__post_init__()

    def _check_apply(self) -> None:
        count = number(f"family {self.name!r}: simulators", self.simulators)
        if not count >= 1 or count % 1:
            raise InputError(f"family {self.name!r}: simulators={self.simulators}: must be 1 or more, a whole number")
        if self.vectorization not in ("sync", "async"):
            raise InputError(f"family {self.name!r}: vectorization={self.vectorization!r}: must be 'sync' or 'async'")
        acting = {parameter.name for parameter in self.parameters if not parameter.distractor}
        for name in sorted(acting - set(self.apply)):
            raise InputError(
                f"family {self.name!r}: parameter {name!r} is not in `apply`, so it would change nothing; add it "
                "there, or declare it distractor=True"
            )
        for name, how in self.apply.items():
            if name not in acting:
                raise InputError(
                    f"family {self.name!r}: `apply` has {name!r}, which is no parameter, or a distractor; remove it"
                )
            if not isinstance(how, Argument | ModelField) and not callable(how):
                raise InputError(
                    f"family {self.name!r}: `apply` of {name!r} is {how!r}; must be an Attribute, an Argument, a "
                    "ModelField or a function (env, value)"
                )
            if isinstance(how, Argument) and name in self.drift:
                raise InputError(
                    f"family {self.name!r}: {name!r} cannot drift, because an Argument acts from the next reset on; "
                    "apply it by an Attribute or a function"
                )

    @property
    def changeable(self) -> tuple[str, ...]:
        """Names of the parameters that may change within an episode: all but distractors and each ``Argument``."""
        return tuple(name for name in super().changeable if not isinstance(self.apply[name], Argument))

    @property
    def outside(self) -> bool:
        """Whether each copy has a process."""
        return self.vectorization == "async"

    def in_process(self) -> GymnasiumFamily:
        """The same family, without a process for each copy."""
        return self if self.vectorization == "sync" else dataclasses.replace(self, vectorization="sync")

    def build(self, render_mode: str | None = None, **arguments: Any) -> gymnasium.Env:
        """The environment with arguments of its constructor applied, and nothing else.

        Raises:
            InputError: it cannot be built with them.
        """
        arguments = {**self.arguments, **arguments}
        if render_mode is not None:
            arguments["render_mode"] = render_mode
        make = self.make
        if isinstance(make, str):
            make = partial(gymnasium.make, make, max_episode_steps=-1, disable_env_checker=True)
        try:
            with warnings.catch_warnings():
                # Box2D's import crashes the interpreter where this warning is an error
                warnings.filterwarnings("ignore", "builtin type .* has no __module__ attribute", DeprecationWarning)
                return make(**arguments)
        except (ImportError, gymnasium.error.DependencyNotInstalled, InputError):
            raise
        except OTHERS_ERRORS as error:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise InputError(
                f"family {self.name!r}: its environment cannot be built with {given or 'no arguments'}: "
                f"{one_line(error)}; mend `make`, `arguments` or `apply`"
            ) from error

    def vector(
        self,
        variants_TP: np.ndarray,
        copies: int = 1,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> GymnasiumVectorEnv:
        """One environment for each copy, stepped by Gymnasium's vector environments on the host."""
        return GymnasiumVectorEnv(self, variants_TP, copies, device, dtype, seed)

    def single(self, render_mode: str | None = None, **parameters: float) -> Context:
        """One variant, with a ``context`` that may be set."""
        return Context(self, render_mode, **parameters)

    def check(self) -> None:
        """Test the spaces; set each parameter to both ends of its training range, reset and step once.

        Raises:
            InputError: a space is of another kind than the family needs, or the environment fails, or gives an
                observation or a reward that is not finite.
        """
        super().check()
        if self.own_statistics:
            warnings.warn(
                f"family {self.name!r}: {' and '.join(self.own_statistics)} within `make` keeps statistics of its own, "
                "which every copy begins anew, so that a policy is judged under others than it was trained under; take "
                "it out: observations and returns are normalised in training",
                stacklevel=2,
            )
        with contextlib.closing(self.single()) as env:
            self._try(env)

    def _try(self, env: Context) -> None:
        """Step once at both ends of each parameter's training range."""
        space = self.action_space
        action: Any = np.int64(first(space))
        if isinstance(space, gymnasium.spaces.Box):
            action = np.zeros(space.shape, space.dtype).clip(space.low, space.high)
        for parameter in self.parameters:
            for value in parameter.train:
                env.context = {parameter.name: value}
                obs, _ = env.reset(seed=0)
                next_obs, reward, terminated, _, _ = env.step(action.copy())
                if np.shape(obs) != self.observation_space.shape:
                    raise InputError(
                        f"family {self.name!r}: observation of shape {np.shape(obs)} must be of observation_space's "
                        f"{self.observation_space.shape}"
                    )
                variant_1P = self.table([env.context])
                require_finite(self, "an observation of a start", [obs], variant_1P)
                require_finite(self, "the reward of the first step", [reward], variant_1P)
                if not terminated:  # what an episode terminates in is read by nothing
                    require_finite(self, "the observation after the first step", [next_obs], variant_1P)


class Context(SingleEnv, gymnasium.Wrapper):
    """One copy of a family's environment, whose variant is its ``context``, as of every ``SingleEnv``.

    Parameters act at once, except constructor arguments, which act from the next reset on.
    """

    family: GymnasiumFamily

    def __init__(self, family: GymnasiumFamily, render_mode: str | None = None, **parameters: float) -> None:
        """Build the environment.

        Args:
            family: the family.
            render_mode: ``None`` or one of the environment's.
            parameters: the variant in SI units; the others keep their defaults.

        Raises:
            InputError: as ``Family.variant``; a parameter cannot be applied; or the environment does not render.
        """
        if render_mode and not family.drawn:
            raise InputError(f"render_mode={render_mode!r}: family {family.name!r} has no renderer; use None")
        self._begin(family, parameters)
        self._render_mode = render_mode
        self.resting = False
        """If true, ``step`` and ``reset`` do nothing and return zeros."""
        self._live = {name: how for name, how in family.apply.items() if not isinstance(how, Argument)}
        super().__init__(self._build())
        self._nothing = np.zeros(family.observation_space.shape, family.observation_space.dtype)
        self._settle()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Apply the context to a copy, because some environments copy no more than what they were made of."""
        vars(self).update(state)
        with contextlib.suppress(InputError):  # what a first reset makes: the context is applied after it
            self._apply()

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]  # as Wrapper does
        """The spec of the unwrapped environment; the family builds all wrappers, this one included."""
        return self.env.unwrapped.spec

    def _put(self, variant: dict[str, float]) -> None:
        if variant != self._context:
            super()._put(variant)
            self._apply()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode of the variant; build the environment anew if a constructor argument has changed."""
        if self.resting:
            return self._nothing, {}
        self._restart()
        if self._arguments() != self._built_with:
            if seed is None:
                seed = int(self.np_random.integers(2**31))
            spec = self.spec
            self.env.close()
            self.env = self._build()
            self.env.unwrapped.spec = spec  # which gymnasium.make may have set
            self._settle()
        options = {**self.family.reset_options, **(options or {})} or None
        with self._named("reset", "mend it, or give the options that it needs as `reset_options`"):
            obs, info = super().reset(seed=seed, options=options)
        self._apply()
        return np.array(obs), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        if self.resting:
            return self._nothing, 0.0, False, False, {}
        with self._named("step", "mend it"):
            obs, reward, terminated, truncated, info = self.env.step(action)
        reward, terminated = float(self._one("a reward", reward)), bool(self._one("an end", terminated))
        truncated = self._pass() or bool(self._one("an end", truncated))
        # a copy, because an environment may overwrite what it has returned, and copies of it may share an array
        return np.array(obs), reward, terminated, truncated, info

    def _one(self, what: str, given: Any) -> bool | int | float:
        """What a step gave as a plain number, also where it is an array of one.

        Raises:
            InputError: it is something else.
        """
        array = np.asarray(given)
        if array.size != 1 or array.dtype.kind not in "biuf":
            raise InputError(
                f"family {self.family.name!r}: step of its environment gives {what} that is "
                f"{' '.join(repr(given).split())[:60]}: must be one number; return float(...) or bool(...) there"
            )
        return cast("bool | int | float", array.item())

    @contextlib.contextmanager
    def _named(self, method: str, remedy: str) -> Iterator[None]:
        """Name the family, the variant and the place in an error of the environment's own."""
        try:
            yield
        except (InputError, MemoryError):
            raise
        except OTHERS_ERRORS as error:
            where = origin(error)
            variant = " ".join(f"{name}={value:g}" for name, value in self._context.items())
            raise InputError(
                f"family {self.family.name!r} at {variant}: {method} of its environment raised {one_line(error)}"
                f"{'' if where.ours else f' ({where.place})'}; {remedy}"
            ) from error

    def _arguments(self) -> dict[str, float]:
        apply = self.family.apply.items()
        return {how.name: self._context[name] for name, how in apply if isinstance(how, Argument)}

    def _build(self) -> gymnasium.Env:
        self._built_with = self._arguments()
        return self.family.build(self._render_mode, **self._built_with)

    def _settle(self) -> None:
        """Apply the context to a new environment after a first reset, because some attributes exist only then."""
        fields = {name: how for name, how in self._live.items() if isinstance(how, ModelField)}
        self._nominal = {name: how.read(self.env.unwrapped) for name, how in fields.items()}
        if self._live or self.family.derive:
            with self._named("reset", "mend it, or give the options that it needs as `reset_options`"):
                super().reset(options=dict(self.family.reset_options) or None)
            self._apply()

    def _apply(self) -> None:
        env = self.env.unwrapped
        for name, how in self._live.items():
            value = self._context[name]
            try:
                if isinstance(how, ModelField):
                    how.write(env, value, self._nominal[name])
                else:
                    cast(Any, how)(env, value)
            except OTHERS_ERRORS as error:
                reason = str(error) if isinstance(error, InputError) else one_line(error)
                raise InputError(f"{name}={value:g}: family {self.family.name!r} cannot apply it: {reason}") from error
        if self.family.derive is not None:
            try:
                self.family.derive(env)
            except OTHERS_ERRORS as error:
                raise InputError(f"family {self.family.name!r}: derive raised {one_line(error)}; mend it") from error


class GymnasiumVectorEnv(VariantVectorEnv[GymnasiumFamily]):
    """Variants of a ``GymnasiumFamily``, stepped on the host; tensors come from and go to the device.

    The state of another library's simulator cannot be read: ``state_dict`` holds the seed of each running episode and
    the actions since, and ``load_state_dict`` plays them again. That is exact where an environment repeats itself.
    """

    def __init__(
        self,
        family: GymnasiumFamily,
        variants_TP: np.ndarray,
        copies: int = 1,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        """Build the copies; call ``reset`` before the first ``step``.

        Args:
            family: the task.
            variants_TP: parameters in SI units, shape (T, P), T >= 1.
            copies: E, copies of each variant, at least 1.
            device: device of observations, rewards and ends.
            dtype: dtype of observations and rewards.
            seed: seed of every start and of all noise of the environments.

        Raises:
            InputError: the shape of ``variants_TP`` or ``copies`` is out of range, or as ``Context``.
        """
        super().__init__(family, variants_TP, copies, device, torch.float64)
        self.dtype = dtype
        self._generator = torch.Generator().manual_seed(seed)
        # this environment drifts the copies of a variant together
        still = dataclasses.replace(family, drift={}) if family.drift else family
        makers = [partial(Context, still, None, **context) for context in self._contexts()]
        settings: dict[str, Any] = {"copy": False, "autoreset_mode": AutoresetMode.DISABLED}
        with uninterrupted():
            self.env = {"sync": SyncVectorEnv, "async": Processes}[family.vectorization](makers, **settings)
        self._once, self._resting_N = False, np.zeros(self.num_envs, dtype=bool)
        self._journal, self._obs = Journal(self.num_envs), torch.empty(0)

    def _contexts(self) -> list[dict[str, float]]:
        """The context of every copy."""
        variants = self.family.untable(self.variants_TP.cpu().numpy())
        return [variant for variant in variants for _ in range(self.copies)]

    def _set_contexts(self) -> None:
        self.env.set_attr("context", self._contexts())

    def _rest(self, mask_N: np.ndarray) -> None:
        """Set the copies of the mask (T * E,) resting, and no others."""
        if (mask_N != self._resting_N).any():
            self._resting_N = mask_N
            self.env.set_attr("resting", mask_N.tolist())

    def _draw(self, n: int) -> list[int]:
        """Draw seeds."""
        return torch.randint(2**31, (n,), generator=self._generator).tolist()

    def _tensor(self, array: np.ndarray) -> Tensor:
        """A copy on the device, because the vector environment overwrites its array."""
        return torch.tensor(array, dtype=torch.bool if array.dtype == bool else self.dtype, device=self.device)

    def _restart(self, mask_N: np.ndarray) -> Tensor:
        """Start the next episode of the copies in the mask (T * E,) and observe all."""
        self._journal.begin_next(mask_N)
        self._obs = self._tensor(self._start(mask_N))
        return self._obs

    def _start(self, mask_N: np.ndarray) -> np.ndarray:
        """Reset the copies of the mask (T * E,) by the seeds of their episodes; observations of all."""
        return self.env.reset(seed=self._journal.seeds(mask_N), options={"reset_mask": mask_N.copy()})[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start every copy anew and return observations (T * E, O).

        With ``options={"paired": True}`` copy e of every variant gets the e-th seed derived from ``seed``; else each
        copy gets another one. With ``"once": True`` a copy rests after its first episode, which is faster.
        """
        self._once = bool(options and options.get("once"))
        self._rest(np.zeros_like(self._resting_N))
        if seed is not None:
            self._generator.manual_seed(seed)
        if self.family.drift:
            self._restart_drift(self._drift_start_TP, torch.ones_like(self._drift_step_T, dtype=torch.bool))
            self._set_contexts()
        if options and options.get("paired"):
            first = self._draw(1)[0] if seed is None else seed
            seeds = (np.random.SeedSequence(first).generate_state(self.copies) >> 1).tolist() * self.num_variants
        else:
            seeds = self._draw(self.num_envs)
        self._journal.begin(seeds)
        self._obs = self._tensor(self._start(np.ones(self.num_envs, dtype=bool)))
        return self._obs, {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take actions (T * E,) or (T * E, A); return observations, rewards, both ends and infos."""
        # a copy, which an environment may overwrite
        given_N = fitting(self.single_action_space, actions.cpu().numpy())
        self._journal.add(given_N, self.variants_TP.cpu().numpy().copy() if self.family.drift else np.empty(0))
        obs, reward_N, terminated_N, truncated_N, _ = self.env.step(given_N)
        self._journal.count(reward_N, ~self._resting_N)
        self._obs = final_obs = self._tensor(obs)
        self._drift(self._generator)
        done_N = terminated_N | truncated_N
        if self._once:
            self._rest(self._resting_N | done_N)
        after = self._restart(done_N) if done_N.any() else final_obs
        info = {"final_obs": final_obs, "_final_obs": self._tensor(done_N)}
        return after, self._tensor(reward_N), self._tensor(terminated_N), self._tensor(truncated_N), info

    def replace(self, variants_TP: np.ndarray, replaced_T: np.ndarray) -> Tensor:
        """Set new variants (T, P) where ``replaced_T`` (T,) is true, start those anew, and observe."""
        mask_T = torch.as_tensor(replaced_T, device=self.device)
        self._restart_drift(torch.as_tensor(variants_TP, dtype=torch.float64, device=self.device), mask_T)
        self._set_contexts()
        replaced_N = np.repeat(np.asarray(replaced_T, dtype=bool), self.copies)
        self._rest(self._resting_N & ~replaced_N)
        return self._restart(replaced_N)

    def put(self, variants_TP: np.ndarray) -> None:
        """Set variants (T, P), from which the next ``reset`` starts."""
        fresh_TP = torch.as_tensor(variants_TP, dtype=torch.float64, device=self.device)
        self._restart_drift(fresh_TP, torch.ones_like(self._drift_step_T, dtype=torch.bool))
        self._set_contexts()

    def change(self, variants_TP: Tensor) -> None:
        """Change the parameters to (T, P); every copy continues. Constructor arguments act from its next start on."""
        self.variants_TP.copy_(variants_TP)
        self._set_contexts()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the last observations (T * E, O)."""
        return {
            "variants_TP": self.variants_TP.clone(),
            "drift_start_TP": self._drift_start_TP.clone(),
            "drift_step_T": self._drift_step_T.clone(),
            "generator": self._generator.get_state(),
            "once": self._once,
            "resting_N": torch.tensor(self._resting_N),
            "journal": self._journal.state_dict(),
            "obs_NO": self._obs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Play the running episodes of ``state_dict`` again.

        Returns:
            The observations (T * E, O), and which copies (T * E,) begin another episode, because the environment does
            not repeat itself (their observations, rewards or ends were others than before), or because theirs is too
            long for the journal. A warning says so.

        Raises:
            InputError: the environment raised an error meanwhile.
        """
        self._generator.set_state(state["generator"].cpu())
        self._once = state["once"]
        self._journal.load_state_dict(state["journal"])
        resting_N = state["resting_N"].numpy()
        too_long_N = self._journal.too_long_N & ~resting_N
        differs_N = self._repeat(state["variants_TP"], resting_N) | too_long_N
        self._drift_start_TP.copy_(state["drift_start_TP"])
        self._drift_step_T.copy_(state["drift_step_T"])
        differs_N |= (self._obs != state["obs_NO"].to(self.device)).any(1).cpu().numpy()
        if differs_N.any():
            why = "its environment does not repeat itself: the same seeds and actions led elsewhere"
            if too_long_N.any():
                why = "its running episodes are too long to be repeated"
            warnings.warn(
                f"family {self.family.name!r}: {why}; the run goes on with new episodes, and not as if it had never "
                "stopped",
                stacklevel=2,
            )
            self._rest(self._resting_N & ~differs_N)
            self._restart(differs_N)
        return self._obs, torch.as_tensor(differs_N, device=self.device)

    def _repeat(self, variants_TP: Tensor, resting_N: np.ndarray) -> np.ndarray:
        """Play the episodes of the journal again; which copies (T * E,) got other rewards, or an end.

        Args:
            variants_TP: the variants (T, P) at last.
            resting_N: the copies (T * E,) that rested at last.
        """
        journal, steps = self._journal, list(self._journal.steps)
        return_N, differs_N = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        self._rest(np.ones(self.num_envs, dtype=bool))
        obs = self.env.reset()[0]
        if not self.family.drift:
            self.change(variants_TP)
        # episodes of different lengths begin at different steps, so that all come to their ends together
        for step in range(len(steps) + 1):
            if self.family.drift:
                self.change(torch.as_tensor(steps[step][1]) if step < len(steps) else variants_TP)
            begins_N = (journal.length_N == len(steps) - step) & ~resting_N
            if begins_N.any():
                self._rest(self._resting_N & ~begins_N)
                obs = self._start(begins_N)
            if step < len(steps):
                obs, reward_N, terminated_N, truncated_N, _ = self.env.step(steps[step][0].copy())
                return_N += reward_N
                ended_N = terminated_N | truncated_N
                if ended_N.any():
                    differs_N |= ended_N
                    self._rest(self._resting_N | ended_N)
                    self._start(ended_N)
        self._obs = self._tensor(obs)
        return differs_N | (return_N != journal.return_N)

    def close_extras(self, **kwargs: Any) -> None:
        """Close every copy."""
        self.env.close(**kwargs)
