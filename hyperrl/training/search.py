"""Search of settings by the return on validation variants, with Optuna's tree-structured Parzen estimator.

Two stages. First, trials train one seed each, the family's own settings in the first of them; a trial whose validation
return falls below the median of the others at the same step is pruned. Then the best settings and the family's own are
trained with further seeds, because the best of many single trainings is mostly luck. The highest mean wins.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box

from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.envs.errors import blamed
from hyperrl.families import configured, resolve
from hyperrl.jobs import LOKY, require_backend, run_jobs
from hyperrl.storage.device import cores, float32, pick_device
from hyperrl.storage.files import require_writable, write_atomically, write_json
from hyperrl.storage.run import definition
from hyperrl.training.held_out import VALIDATION, HeldOut, Progressed
from hyperrl.training.trainer import Trainer

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

JOURNAL, BEST, TRIALS = "journal.log", "best.toml", "trials.json"
"""Files of a search's folder."""
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "epochs": (2, 4, 8, 16),
    "gae_lambda": (0.8, 0.9, 0.95, 0.98),
    "entropy_coef": (0.0, 0.001, 0.01),
}
DEVIATIONS = (-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
"""Choices of ``log_std``, of continuous actions."""
RANGES: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-4, 3e-3), "target_kl": (0.003, 0.05)}
"""Searched in their logarithm."""
DISCOUNTED = (0.001, 0.1)
"""1 - gamma, searched in its logarithm."""
FIRST_SEED = 1_000
"""Trials train this seed; further seeds of the same settings are the next ones. Reports use those from 0 on."""
FINALISTS = 3
"""Settings that are trained again, beside the family's own."""
REPEATS = 3
"""Seeds of each of them in all."""
EXPLORED = 0.6
"""Share of the budget after which no new settings are tried."""
BEFORE_PRUNING = 4
"""Trials that end before any is pruned; and none is before its third evaluation."""
MOST_TRIALS = 1_000
REPEAT, FAILED = "repeat", "failed"
"""Attributes of trials: the further seed that one trains; why one failed."""


@dataclass(frozen=True)
class Setting:
    """Settings that were tried, and what they reached."""

    changes: Mapping[str, Any]
    """What was searched, as fields of ``Config``."""
    scores: Mapping[int, float]
    """Seed -> validation return of the checkpoint that a run would keep."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(list(self.scores.values())))


@dataclass(frozen=True)
class Found:
    """What a search knows."""

    folder: Path
    config: Config
    """The family's own settings, with those that were asked for."""
    best: Setting
    own: Setting | None
    """The family's own; ``None`` while its training is not finished."""
    trials: Sequence[Mapping[str, Any]]
    """Each with number, settings, seed, state, score and seconds."""
    importance: Mapping[str, float]
    """Share of each setting in the variance of the validation return, by PED-ANOVA; empty where too few were tried."""


@dataclass(frozen=True)
class Search:
    """What every trial needs."""

    reference: str | Family
    config: Config
    folder: Path
    deadline: float
    """Seconds since the epoch after which no trial begins."""

    @property
    def family(self) -> Family:
        """What is trained on."""
        return self.reference if isinstance(self.reference, Family) else resolve(self.reference)


def tune(
    family: str | Family,
    budget: float = 600.0,
    run: str | Path | None = None,
    trials: int = MOST_TRIALS,
    workers: int | None = None,
    backend: str = LOKY,
    scheduler: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Found:
    """Search the settings of an arm on a family; a search in the same folder goes on, from several machines too.

    Args:
        family: as for ``hyperrl.train``.
        budget: seconds after which no training begins.
        run: folder to write; ``runs/tune-<family>-<agent>`` by default.
        trials: settings that are tried at most, over all calls; then the best ones are trained again.
        workers: trainings at once.
        backend: as for ``hyperrl.jobs.run_jobs``.
        scheduler: as there.
        progress: called with a line whenever a training has ended.
        settings: agent, steps, and any other field of ``hyperrl.config.Config`` that all trials share.

    Returns:
        The best settings, also written to ``best.toml``, which ``hyperrl train --config`` takes.

    Raises:
        InputError: a setting is wrong, the folder holds another search, Optuna is not installed, or no training ended.
    """
    if find_spec("optuna") is None:
        raise InputError("hyperrl tune: needs optuna, which is not installed; pip install 'hyperrl[tune]'")
    if not 1 <= trials <= MOST_TRIALS:
        raise InputError(f"trials={trials}: must be 1 or more, at most {MOST_TRIALS:,}; choose another number")
    if not 0 < budget < float("inf"):
        raise InputError(f"budget={budget}: must be seconds above 0; give some")
    require_backend(backend, scheduler, workers)
    if "seed" in settings:
        raise InputError(f"seed={settings['seed']}: trials choose their own, from {FIRST_SEED} on; leave it out")
    chosen = {name: value for name, value in settings.items() if value is not None}
    known, config = configured(family, chosen)
    config = replace(config, device=pick_device(config.device).type)
    known.check()
    Trainer(known, config).close()  # says what does not fit before a worker does
    folder = Path(run) if run is not None else Path("runs") / f"tune-{known.name}-{config.agent}"
    require_writable(folder)
    reference = family if isinstance(family, Family) else config.family
    began = time.time()
    search = Search(reference, config, folder, began + EXPLORED * budget)
    _begin(search)

    def run_all(search: Search, function: Callable[[Search, Any], str | None], jobs: Sequence[Any]) -> None:
        if jobs:
            at_once = min(workers or cores(), len(jobs))
            try:
                for _, line in run_jobs(partial(function, search), jobs, at_once, backend, scheduler):
                    if line:
                        progress(line)
            except BrokenProcessPool:
                raise InputError(f"{folder}: a process died; the same command goes on with the search") from None

    tried = sum(trial.state.is_finished() and REPEAT not in trial.user_attrs for trial in _study(search).trials)
    run_all(search, _explore, range(tried, trials))
    run_all(replace(search, deadline=began + budget), _repeat, _to_repeat(search))
    return _finish(search)


def _study(search: Search, seed: int = 0) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(search.folder / JOURNAL))),
        study_name="hyperrl",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(BEFORE_PRUNING, n_warmup_steps=2),
    )


def _begin(search: Search) -> None:
    """Name the search, or check that the folder holds this one; enqueue the family's own settings until they are tried.

    Raises:
        InputError: it holds another one.
    """
    family = search.family
    of_family = json.dumps(definition(family), sort_keys=True)
    shared = {name: value for name, value in asdict(search.config).items() if name not in ("family", "device")}
    named = {
        "family": family.name,
        "agent": search.config.agent,
        "definition": hashlib.sha256(of_family.encode()).hexdigest(),
        "settings": json.loads(json.dumps(shared)),
        "space": json.loads(json.dumps([RANGES, CHOICES, DEVIATIONS, DISCOUNTED])),
    }
    study = _study(search)
    stored = {name: study.user_attrs.get(name) for name in named}
    if not study.user_attrs:
        for name, value in named.items():
            study.set_user_attr(name, value)
    elif stored != named:
        differs = next(name for name in named if stored[name] != named[name])
        raise InputError(
            f"{search.folder}: holds a search that differs in its {differs}, of family {stored['family']!r} with agent "
            f"{stored['agent']!r}; choose another --run"
        )
    own = _parameters(search.config, family)
    known = (trial for trial in study.trials if trial.state.name != "RUNNING")  # which it stays where it was killed
    if all(trial.system_attrs.get("fixed_params", trial.params) != own for trial in known):
        study.enqueue_trial(own)


def _parameters(config: Config, family: Family) -> dict[str, Any]:
    """Settings as Optuna's parameters."""
    found = {name: getattr(config, name) for name in (*RANGES, *CHOICES)}
    found["discounted"] = 1 - config.gamma
    return {**found, "log_std": config.log_std} if isinstance(family.action_space, Box) else found


def _changes(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's parameters as settings."""
    changes = {name: value for name, value in parameters.items() if name != "discounted"}
    rounded = {name: float(f"{changes[name]:.3g}") for name in RANGES}
    return {**changes, **rounded, "gamma": round(1 - parameters["discounted"], 5)}


def _suggested(trial: Trial, config: Config, family: Family) -> dict[str, Any]:
    """What a trial is to train with. The family's own values are always among what there is to choose from."""
    own = _parameters(config, family)
    found: dict[str, Any] = {}
    for name, ends in {**RANGES, "discounted": DISCOUNTED}.items():
        low, high = min(ends[0], own[name]), max(ends[1], own[name])
        found[name] = trial.suggest_float(name, low, high, log=True)
    for name, choices in {**CHOICES, "log_std": DEVIATIONS}.items():
        if name in own:
            found[name] = trial.suggest_categorical(name, sorted({*choices, own[name]}))
    return found


def _explore(search: Search, index: int) -> str | None:
    """Train one seed of settings that Optuna chooses; ``None`` after the deadline."""
    if time.time() > search.deadline:
        return None
    return _train_trial(search, _study(search, index))


def _repeat(search: Search, job: tuple[dict[str, Any], int]) -> str | None:
    """Train a further seed of settings that were tried; ``None`` after the deadline."""
    if time.time() > search.deadline:
        return None
    parameters, seed = job
    study = _study(search)
    study.enqueue_trial(parameters, user_attrs={REPEAT: seed})
    return _train_trial(search, study)


@float32()
def _train_trial(search: Search, study: Study) -> str:
    """Train what the study asks for: what was enqueued first, perhaps by another process."""
    import torch
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial = study.ask()
    repeats = REPEAT in trial.user_attrs
    seed = int(trial.user_attrs.get(REPEAT, FIRST_SEED))
    family = search.family
    suggested = _suggested(trial, search.config, family)
    changes, kept = _changes(suggested), repeats or suggested == _parameters(search.config, family)
    trial.set_user_attr("settings", changes)
    trial.set_user_attr("seed", seed)
    torch.compiler.reset()  # what this process has compiled was for other shapes
    state, score = TrialState.COMPLETE, None

    def report(value: float, evaluation: int) -> None:
        trial.report(value, evaluation)
        if not kept and trial.should_prune():
            raise TrialPruned

    try:
        score = trained(family, search.config.updated({**changes, "seed": seed}), report)
    except TrialPruned:
        state = TrialState.PRUNED
    except InputError as error:
        state = TrialState.FAIL
        trial.set_user_attr(FAILED, str(error))
    except Exception as error:
        state = TrialState.FAIL
        trial.set_user_attr(FAILED, blamed(error))
    study.tell(trial, score, state)
    shown = "pruned" if state is TrialState.PRUNED else "failed" if score is None else f"{score:.1f}"
    return f"trial {trial.number}: validation {shown}  {spelled(changes)}"


def trained(family: Family, config: Config, report: Callable[[float, int], None]) -> float:
    """Validation return of the best agent of a training that writes no files.

    Args:
        family: what is trained on.
        config: the settings.
        report: called with the validation return and the number of each evaluation; what it raises ends the training.

    Raises:
        InputError: as ``Trainer``, or the training diverged.
    """
    trainer, progressed = Trainer(family, config), Progressed()
    held_out = HeldOut(family, (VALIDATION,))
    evaluated = config.evaluated
    try:
        while trainer.iteration < config.iterations:
            trainer.iterate()
            if trainer.iteration in evaluated:
                held_out.play(trainer, progressed)
                report(progressed.curves[VALIDATION][-1], len(progressed.curves[VALIDATION]))
    finally:
        trainer.close()
    return progressed.score


def _settings(trials: Iterable[FrozenTrial]) -> list[tuple[dict[str, Any], Setting]]:
    """Every setting that was trained to its end, the best mean first, with its parameters."""
    grouped: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state.name == "COMPLETE" and trial.value is not None and np.isfinite(trial.value):
            grouped.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    found = [
        (own[0].params, Setting(own[0].user_attrs["settings"], {t.user_attrs["seed"]: t.value or 0.0 for t in own}))
        for own in grouped.values()
    ]
    return sorted(found, key=lambda each: -each[1].mean)


def _own(search: Search, settings: Sequence[tuple[dict[str, Any], Setting]]) -> tuple[dict[str, Any], Setting] | None:
    """The family's own setting, if it was trained."""
    own = _parameters(search.config, search.family)
    return next(((parameters, setting) for parameters, setting in settings if parameters == own), None)


def _to_repeat(search: Search) -> list[tuple[dict[str, Any], int]]:
    """Parameters and seeds to train again: the best few settings and the family's own, first seeds first."""
    settings = _settings(_study(search).trials)
    finalists = settings[:FINALISTS]
    own = _own(search, settings)
    finalists += [own] if own and own not in finalists else []
    jobs = [
        (parameters, seed)
        for parameters, setting in finalists
        for seed in range(FIRST_SEED, FIRST_SEED + REPEATS)
        if seed not in setting.scores
    ]
    return sorted(jobs, key=lambda job: job[1])


def _found(search: Search) -> Found:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = _study(search)
    settings = _settings(study.trials)
    if not settings:
        failed = next((trial.user_attrs[FAILED] for trial in study.trials if FAILED in trial.user_attrs), "")
        raise InputError(failed or f"{search.folder}: no training ended; give a longer --budget, or fewer --steps")
    most = max(len(setting.scores) for _, setting in settings)
    best = next(setting for _, setting in settings if len(setting.scores) == most)
    own = _own(search, settings)
    importance: Mapping[str, float] = {}
    if len(settings) > BEFORE_PRUNING:
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        importance = {"gamma" if name == "discounted" else name: value for name, value in found.items()}
    trials = [
        {
            "number": trial.number,
            "settings": trial.user_attrs.get("settings"),
            "seed": trial.user_attrs.get("seed"),
            "state": trial.state.name.lower(),
            "score": trial.value,
            "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
        }
        for trial in study.trials
    ]
    return Found(search.folder, search.config, best, own[1] if own else None, trials, importance)


def _finish(search: Search) -> Found:
    found = _found(search)
    lines = [
        f"# search on {search.family.name} with {found.config.agent}: validation {found.best.mean:.4g} over "
        f"{len(found.best.scores)} seeds"
        + (f", {found.own.mean:.4g} with the family's own settings" if found.own else ""),
        "[training]",
        f'agent = "{found.config.agent}"',
        *(f"{name} = {value}" for name, value in sorted(found.best.changes.items())),
    ]
    text = "\n".join(lines) + "\n"
    write_atomically(search.folder / BEST, lambda path: path.write_text(text, encoding="utf-8"))
    write_json(search.folder / TRIALS, {"importance": found.importance, "trials": found.trials})
    return found


def spelled(changes: Mapping[str, Any]) -> str:
    """Settings in a line: ``epochs=4 learning_rate=0.001``."""
    return " ".join(f"{name}={value:g}" for name, value in sorted(changes.items()))
