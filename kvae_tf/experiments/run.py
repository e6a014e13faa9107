"""A whole experiment: data, model, training, evaluation, export."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from kvae_tf import data, evaluation
from kvae_tf.data import storage
from kvae_tf.data.fingerprint import fingerprint
from kvae_tf.data.settings import IN_MEMORY, VIDEO_ONLY
from kvae_tf.errors import UserError
from kvae_tf.experiments import initial, live, locks
from kvae_tf.experiments.settings import PLACES, Settings, read
from kvae_tf.experiments.sources import Source
from kvae_tf.export import model_card, weights
from kvae_tf.export.loading import LoadedModel
from kvae_tf.export.saved_model import export
from kvae_tf.models.base import SequenceModel
from kvae_tf.training import calibration, checkpoints, distribution, restarts
from kvae_tf.training.build import build, compile_model, jit, steps_per_epoch
from kvae_tf.training.fit import train
from kvae_tf.visualisation import events, images, model_figures, projector

# Settings that a resumed run may change.
_FREE = {*PLACES, "max_memory", "epochs", "patience", "image_epochs", "test_sequences",
         "profile_updates"}  # fmt: skip


class Outcome(NamedTuple):
    """What a training leaves in memory.

    Attributes:
      model: the trained model; with patience, that of the best epoch.
      metrics: name of a metric -> value on the test part; empty where nothing was measured, and for
        a worker that is not the chief.
    """

    model: SequenceModel
    metrics: dict[str, object]


def run(settings: Settings, splits: data.Splits | None = None) -> dict[str, object]:
    """Trains, evaluates and exports.

    Args:
      settings: the whole experiment.
      splits: the three parts of the data, where they are in memory or read already; None: those
        that the settings name (default).

    Returns:
      Name of a metric -> value, as in ``RUN_DIR/metrics.json``; empty for a worker that is not the
      chief.

    Raises:
      UserError: a setting or a file is wrong, a checkpoint does not fit, the data are others than
        those of the run that is resumed, another process trains in the folder, or the disk is full.
      DivergedError: the bound is no longer a number.
    """
    return execute(settings, splits).metrics


def execute(
    settings: Settings, splits: data.Splits | None = None, training_only: bool = False
) -> Outcome:
    """As ``run``, and gives the model, too.

    Args:
      settings: the whole experiment.
      splits: the three parts of the data; None: those that the settings name (default).
      training_only: leave out evaluation and export; False by default.

    Raises:
      UserError: as ``run``.
      DivergedError: the bound is no longer a number.
    """
    strategy = distribution.create(settings.training.strategy)  # before anything that computes
    run_dir = storage.make_folder(settings.run.run_dir, "run_dir")
    version_dir = Path(settings.run.export_dir or run_dir / "saved_model" / "1")
    if not training_only:
        storage.make_folder(version_dir.parent, "export_dir")
    # The workers of a distributed training share the folder, in which only the chief writes.
    is_chief = distribution.is_chief(strategy)
    lock = locks.held(run_dir, "run_dir") if is_chief else contextlib.nullcontext()
    with lock, _ending_in_one_line(run_dir):
        model, splits, more = _trained(settings, splits, strategy, run_dir)
        if training_only or not is_chief:
            return Outcome(model, {})
        metrics = _evaluate(model, settings, splits, run_dir) | more
        words = evaluation.paragraph(metrics, settings.to_dict())
        _write_verdict(run_dir / "logs" / "test", metrics, words)
        export(model, version_dir)
        _describe(version_dir, settings, model, metrics, splits, run_dir)
        # Last: it says that the run is finished.
        storage.write_json(run_dir / "metrics.json", metrics)
    for name, value in metrics.items():
        print(f"{name}: {evaluation.format_value(value)}")
    print(f"SavedModel: {version_dir}")
    if words:
        print(words)
    return Outcome(model, metrics)


def _trained(settings, splits, strategy, run_dir):
    """The trained model of a folder that is locked, the data, and metrics of the training."""
    held_run = (run_dir / "settings.json").exists()
    is_chief = distribution.is_chief(strategy)
    if is_chief:
        _check_folder(run_dir, settings)
    with strategy.scope():
        if not jit(settings.plan):  # XLA and TensorFlow's deterministic kernels exclude each other
            tf.config.experimental.enable_op_determinism()
        splits = _prepared(settings, splits)
        found = fingerprint(splits)
        if settings.run.resume:
            _check_data(run_dir, settings, found)
        if settings.model.calibrate:
            calibration.check(splits.validation, settings.training.seed)
        goes_on = settings.run.resume and checkpoints.exist(run_dir / "checkpoints")
        model = initial.build_model(settings, splits.train, with_weights=not goes_on)
        if is_chief:
            _claim(run_dir, settings, found, model, splits.train)
        try:
            states = _train(model, settings, splits, run_dir, held_run)
        except distribution.PEER_IS_GONE:
            if strategy.num_replicas_in_sync == 1:
                raise
            distribution.restart_process()
    if not settings.model.calibrate:
        return model, splits, {}
    seed = settings.training.seed
    factor, of_methods = calibration.calibrate(model, splits.validation, seed)
    states.save_calibrated()
    found = {f"train/{method}_std_factor": value for method, value in of_methods.items()}
    return model, splits, {"train/calibration_factor": factor} | found


@contextlib.contextmanager
def _ending_in_one_line(run_dir):
    """What is kept of a run that is interrupted, or whose disk is full, in one line."""
    try:
        yield
    except KeyboardInterrupt as end:
        end.args = (f"{_kept(run_dir)}; go on with --resume",)
        raise
    except (OSError, tf.errors.OpError) as error:
        reason = storage.full_disk(error)
        if not reason:
            raise
        raise UserError(f"cannot write {run_dir}: {reason}; {_kept(run_dir)}") from error


def _kept(run_dir):
    """What a run that ends now leaves, in words."""
    starts = sorted(run_dir.glob("starts/*/checkpoints"))
    return checkpoints.kept(starts[-1] if starts else run_dir / "checkpoints")


def load_data(settings: Settings, **options) -> data.Splits:
    """Train, validation and test part of the data set that the settings name.

    Args:
      settings: the whole experiment.
      **options: arguments of ``data.load`` beside those in the settings.

    Raises:
      UserError: the data set is unknown, or is refused; a setting of videos is given for other
        data; or the data were in memory.
    """
    chosen = settings.data
    if chosen.dataset == IN_MEMORY:
        raise UserError(
            f"--dataset={IN_MEMORY} was in memory when the model was trained: expected "
            "kvae_tf.train with the same arrays, or another --dataset"
        )
    is_video = data.is_video(chosen.dataset)
    chosen.check_use(is_video)
    if chosen.draw_walls:
        options["draw_walls"] = True
    if chosen.path_frames:
        options["path_frames"] = chosen.path_frames
    if chosen.dataset not in data.WORLDS:
        options["max_memory"] = chosen.max_memory
    if is_video:
        options |= {name: getattr(chosen, name) for name in VIDEO_ONLY}
    splits = data.load(chosen.dataset, settings.training.seed, chosen.cache_dir or None, **options)
    return _binarised(settings, splits)


def _prepared(settings, splits):
    """The data as the settings want them."""
    if splits is None:
        return load_data(settings)
    return in_memory(settings, splits) if settings.data.dataset == IN_MEMORY else splits


def in_memory(settings: Settings, splits: data.Splits) -> data.Splits:
    """Data that were given in memory, as the settings want them.

    Args:
      settings: the whole experiment.
      splits: the three parts of the data.

    Raises:
      UserError: a setting of videos or of worlds is given.
    """
    settings.data.check_use(is_video=False)
    if settings.data.draw_walls:
        raise UserError("--draw_walls is set, but the data are in memory: expected a world")
    if settings.data.path_frames:
        raise UserError("--path_frames is set, but the data are in memory: expected a world")
    return _binarised(settings, splits)


def _binarised(settings, splits):
    if not settings.data.binarise:
        return splits
    return data.Splits(*(part.binarised() for part in splits))


def _train(model, settings, splits, run_dir, held_run):
    """Trains from the last checkpoint or the best initialisation; with patience keeps the best.

    The checkpoints are returned. A calibration begins anew from them, so that none is done twice.
    """
    plan = settings.plan
    states = compile_model(model, plan, splits.train, run_dir / "checkpoints")
    if settings.run.resume and states.restore_last():
        done = int(states.progress.epoch.numpy())
        if done > plan.training.epochs:
            raise UserError(
                f"--epochs is {plan.training.epochs}, expected at least {done}, the epochs that "
                f"--run_dir={run_dir} has finished"
            )
        states.claim()
        print(f"resuming after epoch {done}")
    else:
        if settings.run.resume and held_run:
            print(f"{run_dir / 'checkpoints'} holds no checkpoint yet: starting afresh")
        if plan.training.starts > 1:
            restarts.select_best(model, states, plan, splits, run_dir)
    if distribution.is_chief(tf.distribute.get_strategy()):
        _write_hparams(run_dir / "logs", settings)
    states.discard_calibrated()
    train(model, states, plan, splits, run_dir)
    if plan.training.patience and distribution.is_chief(tf.distribute.get_strategy()):
        states.restore_best()
    return states


def _evaluate(model, settings, splits, run_dir):
    """The metrics of the test part."""
    # TensorBoard looks for points beside events only.
    projector.write(run_dir / "logs" / "validation", model, splits.validation)
    test = splits.test.select(slice(0, settings.data.test_sequences or None))
    metrics = evaluation.evaluate(model, test, splits.train)
    metrics["test/sequences"] = len(test)
    metrics["train/updates"] = int(model.optimizer.iterations.numpy())
    return metrics


def _write_verdict(logs, metrics, words):
    """Writes the verdict as TensorBoard text, where there is one."""
    if not words:
        return
    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default(step=metrics["train/updates"]):
        tf.summary.text("verdict", f"**{metrics['verdict']}** {words}")
    writer.close()


def restore(run_dir: Path) -> tuple[Settings, SequenceModel, data.Splits]:
    """A run's settings, trained model and data.

    Args:
      run_dir: folder of a run with at least one finished epoch.

    Raises:
      UserError: there is no such run, its checkpoint is damaged, or its data have changed.
    """
    settings = read(run_dir / "settings.json", run_dir=str(run_dir))
    splits = load_data(settings)
    _check_data(run_dir, settings, fingerprint(splits))
    if (run_dir / weights.MODEL).exists():
        return settings, live.from_source(Source("run", run_dir)), splits
    model = build(settings.plan, splits.train)  # a run of an earlier version
    live.restore(model, settings, splits.train, run_dir)
    return settings, model, splits


def _describe(version_dir, settings, model, metrics, splits, run_dir):
    """Writes weights, metrics, settings, model card and a few pictures beside an export."""
    folder = version_dir.parent
    weights.write(folder / weights.WEIGHTS, model)
    weights.write_description(folder / weights.MODEL, _description(model, settings, splits.train))
    storage.write_json(folder / "metrics.json", metrics)
    shown = {name: value for name, value in settings.to_dict().items() if name not in PLACES}
    storage.write_json(folder / "settings.json", shown)
    write_scores(folder / "scores.json", model, splits.validation)
    exported = LoadedModel(version_dir)
    card = model_card.write(settings.spec, settings.model, shown, exported, metrics)
    storage.write_text(folder / "README.md", card)
    for tag, picture in model_figures.pictures(model, splits.test.select(slice(0, 8))).items():
        kind = "gif" if picture.data.startswith(b"GIF") else "png"
        storage.write_bytes(folder / f"{tag.split('/')[-1]}.{kind}", picture.data)
    objects = events.images(run_dir / "logs" / "validation").get("latents/objects")
    if objects:
        images.save_png(folder / "stages.png", events.stages(objects))


def write_scores(path: Path, model: SequenceModel, validation: data.SequenceData) -> None:
    """Writes which scores a model gives to good frames; of one that cannot ``score``, nothing.

    Args:
      path: the file, ``scores.json`` beside an export.
      model: a live model.
      validation: sequences in which nothing is wrong, the validation part.
    """
    if "score" not in model.supports:
        path.unlink(missing_ok=True)  # that of an export which this one replaces
        return
    scores = evaluation.frame_scores(model, validation)
    quantiles = evaluation.score_quantiles(scores, validation.observed)
    storage.write_json(path, {"sequences": len(validation)} | quantiles)


def _check_folder(run_dir, settings):
    """Raises a ``UserError`` where ``run_dir`` holds another run."""
    path = run_dir / "settings.json"
    mine = settings.to_dict()
    if path.exists() and settings.run.resume:
        theirs = storage.read_json(path, "the settings of the run")
        fields = dataclasses.fields(settings.model)
        free = _FREE | {field.name for field in fields if field.metadata["after_training"]}
        for name, value in theirs.items():
            if name not in free and name in mine and mine[name] != value:
                raise UserError(
                    f"--{name} is {mine[name]}, but the checkpoint in --run_dir={run_dir} was "
                    f"written with {value}: use that value, or another --run_dir"
                )
    elif path.exists() and not settings.run.overwrite:
        raise UserError(
            f"--run_dir={run_dir} holds a run: pass --resume to go on with it, --overwrite to "
            "start afresh, or choose another folder"
        )


def _check_data(run_dir, settings, found):
    """Raises a ``UserError`` where a run was trained on data of another fingerprint."""
    path = run_dir / "data.json"
    known = storage.read_json(path, "the fingerprint of a run's data") if path.exists() else {}
    if known.get("fingerprint", found) != found:
        raise UserError(
            f"--dataset={settings.data.dataset} has other contents now than those that "
            f"--run_dir={run_dir} was trained on: expected the same data, or another --run_dir"
        )


def _description(model, settings, train):
    steps = steps_per_epoch(settings.plan, train)
    return weights.describe(model, settings.model_name, steps)


def _claim(run_dir, settings, found, model, train):
    """Writes what the run is; deletes an older run that is overwritten."""
    path = run_dir / "settings.json"
    if path.exists() and not settings.run.resume:
        for name in ("checkpoints", "logs", "starts"):
            shutil.rmtree(run_dir / name, ignore_errors=True)
        for name in ("time.json", weights.MODEL):
            (run_dir / name).unlink(missing_ok=True)
    storage.clear(run_dir)
    # The file says that a run with these settings is finished.
    (run_dir / "metrics.json").unlink(missing_ok=True)
    storage.write_json(path, settings.to_dict())
    storage.write_json(run_dir / "data.json", {"fingerprint": found})
    weights.write_description(run_dir / weights.MODEL, _description(model, settings, train))


def _write_hparams(folder, settings):
    """Writes the settings for TensorBoard's hparams page."""
    values = {
        name: str(value) if isinstance(value, list) else value
        for name, value in settings.to_dict().items()
    }
    with tf.summary.create_file_writer(str(folder / "train")).as_default(step=0):
        hparams.hparams(values, trial_id=settings.run.run_dir)
