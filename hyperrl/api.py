"""What users call: ``train``, a ``Run`` with its policies, evaluations and adaptations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hyperrl.adaptation import inference
from hyperrl.agents.encoder import TransitionEncoder
from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.envs.errors import blamed
from hyperrl.families import configured, portable
from hyperrl.jobs import run_jobs
from hyperrl.play.policy import VariantPolicy, generated
from hyperrl.storage import checkpoint
from hyperrl.storage.device import cores, float32, keep_freed_memory, pick_device, threads
from hyperrl.storage.files import require_printable
from hyperrl.storage.lock import writing
from hyperrl.storage.run import SETTINGS, Settings, StoredRun, read_settings, reference_of, run_folders, write_settings
from hyperrl.streams import console
from hyperrl.training import loop
from hyperrl.training.held_out import Progressed
from hyperrl.training.loop import Interrupted, NoLog
from hyperrl.training.ranks import Ranks, joined, of_this_job
from hyperrl.training.trainer import Trainer

if TYPE_CHECKING:
    from hyperrl.adaptation.result import Adaptation
    from hyperrl.evaluation.compare import Comparison
    from hyperrl.evaluation.evaluate import Evaluation

__all__ = ["Interrupted", "Policy", "Run", "adapt", "compare", "train", "train_seeds"]

MOST_SEEDS = 1_000
"""Each is a training of its own."""


class Policy(VariantPolicy):
    """The policy of one variant; ``predict`` has Stable-Baselines3's signature."""

    @float32()
    def export(self, path: str | Path, format: str, force: bool = False) -> float:
        """Write the policy as a file that needs no hyperrl, checked against itself first.

        Args:
            path: file to write.
            format: a key of ``hyperrl.export.FORMATS``.
            force: overwrite what is there.

        Returns:
            The largest difference found between the file's actions and the policy's.

        Raises:
            InputError: as ``hyperrl.export.export``.
        """
        from hyperrl.export import export

        return export([self], [Path(path)], format, force)[0]


class Run(StoredRun):
    """A trained agent and its folder."""

    @cached_property
    @float32()
    def encoder(self) -> TransitionEncoder:
        """The network that infers the parameters of an unknown variant from its transitions.

        See ``hyperrl.adaptation.inference``. If the run has no ``encoder.pt`` yet, it is trained now.

        Raises:
            InputError: the family has nothing that could be inferred, or the file is damaged or cannot be written.
        """
        return inference.encoder_of(self)

    @float32()
    def policy(self, /, **parameters: float) -> Policy:
        """The policy generated for a variant; parameters left out keep their defaults.

        Outside the training ranges it is generated all the same, with a warning.

        Raises:
            InputError: a parameter is unknown or out of bounds.
        """
        variant = self.family.variant(**parameters)
        note = self.family.range_note(self.family.table([variant]))
        if note:
            warnings.warn(note, stacklevel=2)
        return Policy(self.agent, self.family, variant, gamma=self.config.gamma)

    @float32()
    def policies(self, variants: Iterable[Mapping[str, float]]) -> list[Policy]:
        """The policies of several variants, generated in one call.

        Outside the training ranges they are generated all the same, with a warning.

        Raises:
            InputError: a parameter is unknown or out of bounds.
        """
        complete = [self.family.variant(**variant) for variant in variants]
        note = self.family.range_note(self.family.table(complete))
        if note:
            warnings.warn(note, stacklevel=2)
        weights_TD = generated(self.agent, self.family, complete)
        return [
            Policy(self.agent, self.family, variant, gamma=self.config.gamma, weights_1D=weights_1D)
            for variant, weights_1D in zip(complete, weights_TD.split(1), strict=True)
        ]

    @float32()
    def evaluate(self, split: str = "interpolation", episodes: int = 10, **parameters: float) -> Evaluation:
        """Play greedy episodes on a split, or on one variant where parameters are given.

        Raises:
            InputError: the split or a parameter is unknown or out of bounds.
        """
        from hyperrl.evaluation.evaluate import evaluate

        return evaluate(self, split=split, episodes=episodes, parameters=parameters or None)

    def adapt(self, mode: str = "all", episodes: int = 5, unknown: bool = False, **parameters: float) -> Adaptation:
        """Adapt the policy of one variant by playing episodes on it; parameters left out keep their defaults.

        Args:
            mode: one of ``hyperrl.adapt.MODES``.
            episodes: to be played.
            unknown: the agent does not know the parameters; only the simulator does.
            parameters: of the variant.

        Raises:
            InputError: as ``hyperrl.adapt.adapt``, or a parameter is unknown or out of bounds.
        """
        return adapt(self, self.family.table([parameters]), mode, episodes, unknown)


@float32()
def adapt(
    run: StoredRun,
    variants_TP: np.ndarray,
    mode: str = "all",
    episodes: int = 5,
    unknown: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Adaptation:
    """Adapt the run's agent to each variant by itself, all side by side: see ``hyperrl.adaptation.session.adapt``.

    Args:
        run: the trained agent.
        variants_TP: variants (T, P) in SI units.
        mode: one of ``hyperrl.adapt.MODES``.
        episodes: K, to be played on each variant, 0 or more.
        unknown: the agent does not know the parameters; only the simulator does.
        seed: of starts, actions and search.
        progress: called with the episodes played and K.

    Raises:
        InputError: the mode is unknown, episodes, seed or a variant are out of bounds, parameters drift, or there is
            nothing to infer.
    """
    from hyperrl.adaptation import session

    return session.adapt(run, variants_TP, mode, episodes, unknown, seed, progress, Policy)


@float32()
def compare(
    runs: Iterable[StoredRun | str | Path], split: str = "interpolation", episodes: int = 10, variants: int = 64
) -> Comparison:
    """Arms side by side: see ``hyperrl.evaluation.compare.compare``.

    Args:
        runs: of one family; or folders of runs, or of the runs of several seeds.
        split: which variants.
        episodes: greedy episodes a variant.
        variants: how many of the split.

    Raises:
        InputError: as ``hyperrl.evaluation.compare.compare``, or a folder holds no run.
    """
    from hyperrl.evaluation import compare as comparing

    opened: list[StoredRun] = []
    for run in runs:
        opened += [run] if isinstance(run, StoredRun) else open_runs([Path(run)])
    return comparing.compare(opened, split, episodes, variants)


def open_runs(folders: Iterable[Path], family: Family | str | None = None) -> list[Run]:
    """The runs in folders, and in folders of several seeds; the code of a family runs once for all of them.

    Args:
        folders: of a run each, or of the runs of several seeds.
        family: as for ``StoredRun``.

    Raises:
        InputError: as ``StoredRun``.
    """
    runs: list[Run] = []
    known: dict[str, Family] = {}
    for folder in (own for given in folders for own in run_folders(given)):
        reference = reference_of(folder) if family is None else "given"
        runs.append(Run(folder, known.get(reference, family)))
        known[reference] = runs[-1].family
    return runs


@float32()
def train(
    family: str | Family,
    agent: str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    run: str | Path | None = None,
    device: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    encoder: bool = True,
    **settings: Any,
) -> Run:
    """Train one agent on a family of variants, and the encoder that infers unknown parameters.

    Args:
        family: registered name, ``module:attribute``, path of a Python file that defines ``family``, or a ``Family``.
        agent: name of an arm; the first of ``hyperrl.agents.ARMS`` by default.
        seed: of everything random; 0 by default.
        steps: environment steps; the family's own by default.
        run: folder to write; ``runs/<family>-<agent>-<seed>`` by default.
        device: cpu, cuda or auto, the default.
        resume: go on with the run in the folder, bit for bit as if it had never stopped; start it where there is none.
            Where a Gymnasium environment does not repeat itself from seeds and actions, new episodes begin, with a
            warning.
        quiet: no progress bar.
        encoder: train it too, once the agent is finished, on the family's variants as the best agent plays them. That
            takes further environment steps, see ``hyperrl.adaptation.inference.effort``, which count for nothing else.
            If false, or if nothing could be inferred, there is none; ``Run.encoder`` trains it when it is asked for.
        settings: any other field of ``hyperrl.config.Config``.

    Returns:
        The run, with the agent that did best on the validation variants.

    Raises:
        InputError: a setting is wrong, the folder already holds a run and ``resume`` is false, somebody else is
            writing it, or the training diverged.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    named = {"agent": agent, "seed": seed, "steps": steps, "device": device}
    chosen = {name: value for name, value in named.items() if value is not None} | settings
    known, config = configured(family, chosen)
    folder = _folder(run, f"{known.name}-{config.agent}-{config.seed}")
    picked = pick_device(config.device)
    config = replace(config, device=picked.type, family=portable(config.family, folder))
    resumed = _settings_of_run(folder, config, known, chosen, resume)
    config = resumed.config if resumed else config
    known.check()
    keep_freed_memory()
    with threads(config.threads), joined(picked) as ranks:
        return _trained(folder, known, config, resumed, quiet or not ranks.first, encoder, ranks)


@float32()
def train_seeds(
    family: str | Family,
    seeds: int = 10,
    run: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    encoder: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train agents that differ in their seeds, 0 to ``seeds`` - 1, as many at once as there are processors.

    Each is what ``train`` makes of its seed, bit for bit, in a folder of its own: ``seed-0`` and so on.

    Args:
        family: as for ``train``.
        seeds: how many, 1 or more.
        run: folder of the folders; ``runs/<family>-<agent>`` by default.
        resume: go on with those that have begun, and start the others.
        quiet: no progress bar.
        encoder: as for ``train``.
        settings: agent, steps, device, and any other field of ``hyperrl.config.Config`` but the seed.

    Returns:
        The runs, in the order of their seeds.

    Raises:
        InputError: as ``train``, before anything starts where it can be known; or a training failed or its process
            died, once the others have ended.
        Interrupted: Ctrl-C; each run can be resumed from its last checkpoint.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"seeds={seeds}: must be 1 or more, at most {MOST_SEEDS:,}; choose another number")
    if of_this_job().count > 1:
        raise InputError(f"seeds={seeds}: each is trained by one process; leave torchrun out, or --seeds")
    if "seed" in settings:
        raise InputError(f"seed={settings['seed']}: the seeds are 0 to {seeds - 1}; leave it out, or train one seed")
    chosen = {name: value for name, value in settings.items() if value is not None}
    known, config = configured(family, chosen)
    folder = _folder(run, f"{known.name}-{config.agent}")
    config = replace(config, device=pick_device(config.device).type)
    folders = [folder / f"seed-{seed}" for seed in range(seeds)]
    for seed, own in enumerate(folders):
        _settings_of_run(own, replace(config, seed=seed), known, {**chosen, "seed": seed}, resume)
    known.check()
    reference = config.family if isinstance(family, str) else family
    start = partial(_train_seed, reference, {**chosen, "resume": resume, "encoder": encoder})
    failed: dict[int, str] = {}
    done = 0
    try:
        with _seeds_bar(known.name, config.agent, seeds, quiet) as progress:
            for seed, failure in run_jobs(start, folders, min(seeds, cores())):
                failed |= {seed: failure} if failure else {}
                done += 1
                progress(done)
    except BrokenProcessPool:
        raise InputError(f"{folder}: a process died with {done} of {seeds} seeds done; go on with --resume") from None
    except KeyboardInterrupt:
        raise Interrupted(f"stopped with {done} of {seeds} seeds done") from None
    if failed:
        first = min(failed)
        others = f"; {len(failed)} of {seeds} seeds failed, the others are kept" if seeds > 1 else ""
        raise InputError(f"seed {first}: {failed[first]}{others}")
    return [Run(own, known) for own in folders]


def _train_seed(family: str | Family, settings: dict[str, Any], folder: Path) -> str | None:
    """Train the agent of a folder ``seed-<seed>``; returns why it failed."""
    try:
        train(family, seed=int(folder.name.removeprefix("seed-")), run=folder, quiet=True, **settings)
    except (InputError, Interrupted) as stop:
        return str(stop)
    except Exception as error:
        return blamed(error)
    return None


def _folder(run: str | Path | None, default: str) -> Path:
    """The folder to write."""
    if run is None:
        return Path("runs") / default
    if not isinstance(run, str | Path) or run in ("", Path()):
        raise InputError(f"run={run!r}: must be a folder; name one, or leave it out for a folder in runs")
    require_printable(Path(run))
    return Path(run)


def _trained(
    folder: Path, family: Family, config: Config, resumed: Settings | None, quiet: bool, encoder: bool, ranks: Ranks
) -> Run:
    """The run in the folder, trained to its end."""
    trainer, progressed = Trainer(family, config, ranks=ranks), Progressed()
    remedy = "wait until it has ended, or choose another folder with --run"
    ranks.wait()  # until all have seen whether the folder holds a run
    with closing(trainer), writing(folder, remedy) if ranks.first else nullcontext():
        if ranks.first and not resumed:
            _require_no_run(folder)  # another writer may have come first
            write_settings(folder, config, family)
        ranks.wait()  # until the settings are there
        progressed.run = (resumed or read_settings(folder, family)).identity
        if checkpoint.has_run(folder):
            loop.restore(folder / checkpoint.FILE, trainer, progressed)
        encoder = encoder and bool(family.inferable)
        if trainer.iteration < config.iterations:
            if not quiet:
                console().print(_first_line(trainer), highlight=False, soft_wrap=True)
            open_log = partial(_log, folder, trainer) if ranks.first else NoLog
            with _unless_failed(folder) if ranks.first else nullcontext():
                loop.run_loop(trainer, progressed, folder, open_log, quiet, encoder)
        ranks.wait()  # until the last checkpoint is there
        trainer.close()  # no simulators beside those of the encoder
        finished = Run(folder, family)
        if ranks.first and encoder and not inference.has_encoder(finished):
            _train_encoder(finished, quiet)
    return finished


def _log(folder: Path, trainer: Trainer) -> loop.Log:
    from hyperrl.reports.tensorboard import RunLog

    return RunLog(folder, trainer.steps)


def _first_line(trainer: Trainer) -> str:
    """The line printed before a training begins: what trains, where, and how."""
    config, ranks = trainer.config, trainer.ranks
    on = f"{config.threads} of {cores()} processors" if config.device == "cpu" else config.device
    how = f"not compiled: {trainer.not_compiled}" if trainer.not_compiled else "compiled"
    parts = [f"{ranks.count} processes of {config.variants // ranks.count} variants"] if ranks.count > 1 else []
    parts += [how, *(["collecting ahead"] if trainer.ahead else [])]
    parts += [] if trainer.not_captured else ["captured in a CUDA graph"]
    return f"training {config.agent} on {trainer.family.name} with {on}, {', '.join(parts)}"


def _holds_run(folder: Path) -> bool:
    return (folder / SETTINGS).exists() or checkpoint.has_run(folder)


def _require_no_run(folder: Path) -> None:
    if _holds_run(folder):
        raise InputError(f"{folder}: already holds a run; go on with --resume or choose another --run")


@contextmanager
def _unless_failed(folder: Path) -> Iterator[None]:
    """Remove the settings after an error before the first checkpoint, so that the folder holds no run."""
    try:
        yield
    except Exception:
        if not checkpoint.has_run(folder):
            (folder / SETTINGS).unlink(missing_ok=True)
        raise


def _settings_of_run(
    folder: Path, config: Config, family: Family, chosen: dict[str, Any], resume: bool
) -> Settings | None:
    """Settings that the run in the folder was started with, ``None`` where the folder holds no run."""
    if not resume:
        _require_no_run(folder)
    if not _holds_run(folder):
        return None
    if not (folder / SETTINGS).exists():
        raise InputError(f"{folder}: holds a checkpoint without its config.json; choose another --run")
    settings = read_settings(folder, family)
    stored = settings.config
    if stored.device == "cuda" and config.device != "cuda":
        raise InputError(f"{folder}: was trained on cuda; resume it where there is a GPU, or choose another --run")
    for name in chosen:
        value, first = getattr(config, name), getattr(stored, name)
        if value != first:
            raise InputError(
                f"{name}={value}: the run in {folder} was started with {name}={first}; "
                "leave it out, or choose another --run"
            )
    return settings


def _train_encoder(run: Run, quiet: bool) -> None:
    """Train the encoder; it is written at its end only, so that an interrupted one begins anew."""
    try:
        with loop.interrupting(), _encoder_bar(run, quiet) as progress:
            inference.write_encoder(run, progress)
    except KeyboardInterrupt:
        raise Interrupted("the agent is finished, its encoder is not") from None


@contextmanager
def _seeds_bar(family: str, agent: str, seeds: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    shown_on = console()
    if not quiet:
        at_once = f"{min(seeds, cores())} at once"
        shown_on.print(f"training {seeds} seeds of {agent} on {family}, {at_once}", highlight=False, soft_wrap=True)
    columns = (TextColumn("seeds"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    hidden = quiet or not shown_on.file.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=shown_on, disable=hidden) as bar:
        task = bar.add_task("", total=seeds)

        def advance(done: int) -> None:
            bar.update(task, completed=done)
            if not quiet and bar.disable:
                shown_on.print(f"{done:>12} of {seeds} seeds done", highlight=False)

        yield advance


@contextmanager
def _encoder_bar(run: Run, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("encoder: {task.completed:,.0f} of {task.total:,.0f} updates"),
        BarColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shown_on, began = console(), time.monotonic()
    with Progress(*columns, console=shown_on, disable=quiet or not shown_on.file.isatty()) as bar:
        task = bar.add_task("", total=inference.effort(run.family, run.config.steps).updates)
        yield lambda done, total: bar.update(task, completed=done)
        if not quiet and bar.disable:
            shown_on.print(f"{'encoder':>12} trained in {time.monotonic() - began:,.0f} s", highlight=False)
