"""An experiment from settings to results: data, model, training, evaluation, export."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from kvae_tf import callbacks, data, evaluation, figures, files, model_card, plotting
from kvae_tf.checkpoints import Checkpoints
from kvae_tf.errors import UserError
from kvae_tf.export import export
from kvae_tf.models import registry
from kvae_tf.models.base import SequenceModel
from kvae_tf.optimizer import Leg, Legs, RestingAdam
from kvae_tf.settings import Settings

# What a resumed run may change without becoming another run.
_FREE = {"epochs", "patience", "image_epochs", "run_dir", "export_dir", "resume", "overwrite",
         "cache_dir", "test_sequences"}  # fmt: skip


def run(settings: Settings) -> dict[str, object]:
    """Trains, evaluates and exports.

    Args:
      settings: the whole experiment.

    Returns:
      The metrics, as written to RUN_DIR/metrics.json.

    Raises:
      UserError: bad input, a checkpoint that does not fit, or a bound that is no longer a number.
    """
    run_dir = files.make_folder(settings.run.run_dir, "run_dir")
    version_dir = Path(settings.run.export_dir or run_dir / "saved_model" / "1")
    files.make_folder(version_dir.parent, "export_dir")
    _claim(run_dir, settings)
    if not _jit(settings):  # XLA and TensorFlow's deterministic kernels exclude each other
        tf.config.experimental.enable_op_determinism()
    splits = load_data(settings)
    model = build(settings, splits.train)
    checkpoints = compile_model(model, settings, splits.train, run_dir / "checkpoints")
    if settings.run.resume and checkpoints.restore_last():
        print(f"resuming after epoch {int(checkpoints.progress.epoch.numpy())}")
    train(model, checkpoints, settings, splits, run_dir)
    if settings.training.patience:
        checkpoints.restore_best()
    test = splits.test.select(slice(0, settings.data.test_sequences or None))
    metrics = evaluation.evaluate(model, test, splits.train)
    metrics["test/sequences"] = len(test)
    metrics["train/updates"] = int(model.optimizer.iterations.numpy())
    files.write_json(run_dir / "metrics.json", metrics)
    export(model, version_dir)
    _describe(version_dir.parent, settings, model, metrics, test)
    for name, value in metrics.items():
        print(f"{name}: {model_card.format_value(value)}")
    print(f"SavedModel: {version_dir}")
    return metrics


def load_data(settings: Settings, **options) -> data.Splits:
    """The data set that the settings name.

    Args:
      settings: the whole experiment.
      **options: of ``data.load``, beyond those that the settings say.
    """
    chosen = settings.data
    if chosen.draw_walls:
        options["draw_walls"] = True
    splits = data.load(chosen.dataset, settings.training.seed, chosen.cache_dir or None, **options)
    return data.Splits(*(part.binarised() for part in splits)) if chosen.binarise else splits


def restore(run_dir: Path) -> tuple[Settings, SequenceModel, data.Splits]:
    """A run's settings, trained model and data.

    Args:
      run_dir: the folder of a run of which at least one epoch is done.

    Raises:
      UserError: there is no such run, or its checkpoint is damaged.
    """
    settings = read_settings(run_dir / "settings.json", run_dir=str(run_dir))
    splits = load_data(settings)
    model = build(settings, splits.train)
    checkpoints = compile_model(model, settings, splits.train, run_dir / "checkpoints")
    best = settings.training.patience > 0
    if not (checkpoints.restore_best() if best else checkpoints.restore_last()):
        raise UserError(f"{run_dir} holds no checkpoint, expected a run with a finished epoch")
    return settings, model, splits


def read_settings(path: Path, **changes) -> Settings:
    """The settings in a ``settings.json``, some of them replaced.

    Raises:
      UserError: the file is missing or holds no settings.
    """
    return Settings.from_dict(files.read_json(path, "the settings of a run") | changes)


def _describe(folder, settings, model, metrics, test):
    """Puts the metrics, the model card and a few pictures beside an export."""
    files.write_json(folder / "metrics.json", metrics)
    places = ("run_dir", "export_dir", "cache_dir", "resume", "overwrite")
    files.write_json(
        folder / "settings.json",
        {name: value for name, value in settings.to_dict().items() if name not in places},
    )
    files.write_text(folder / "README.md", model_card.write(settings, model, metrics))
    for tag, picture in figures.pictures(model, test.select(slice(0, 8))).items():
        kind = "gif" if picture.data.startswith(b"GIF") else "png"
        plotting.save_bytes(folder / f"{tag.split('/')[-1]}.{kind}", picture.data)


def build(settings: Settings, train: data.SequenceData) -> SequenceModel:
    """The model that the settings describe, built and reproducibly initialised.

    Args:
      settings: the whole experiment.
      train: the training part, for its shapes.
    """
    keras.utils.set_random_seed(settings.training.seed)
    steps = steps_per_epoch(settings, train)
    model = registry.create(
        settings,
        train.frame_shape,
        train.control_size,
        len(train),
        steps,
        jit_engine=not _jit(settings),
    )
    model.build()
    return model


def compile_model(
    model: SequenceModel, settings: Settings, train: data.SequenceData, folder: Path
) -> Checkpoints:
    """Gives the model its optimiser.

    Returns:
      The run's checkpoints.
    """
    training = settings.training
    rate = _learning_rate(training, steps_per_epoch(settings, train))
    clip = training.clip_norm or None
    if training.optimizer == "adadelta":
        optimizer = keras.optimizers.Adadelta(rate, global_clipnorm=clip)
    else:
        optimizer = RestingAdam(
            rate, model.dynamics_variables, training.dynamics_rate, global_clipnorm=clip
        )
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=_jit(settings))
    return Checkpoints(folder, model)


def _learning_rate(training, steps):
    """The schedule; where a training has two parts it starts again with the second."""
    schedules = keras.optimizers.schedules

    def schedule(epochs):
        rate = training.learning_rate
        return {
            "constant": lambda: schedules.ExponentialDecay(rate, 1, 1.0),
            "cosine": lambda: schedules.CosineDecay(rate, epochs * steps, alpha=0.01),
            "exponential": lambda: schedules.ExponentialDecay(
                rate, training.decay_epochs * steps, training.decay_rate, True
            ),
        }[training.schedule]()

    last = training.settling_epochs
    if training.pretraining_epochs:
        last = training.epochs - training.pretraining_epochs
    first = training.epochs - last
    legs = [Leg(epochs * steps, schedule(epochs)) for epochs in (first, last) if epochs]
    return legs[0].schedule if len(legs) == 1 else Legs(legs)


def train(
    model: SequenceModel,
    checkpoints: Checkpoints,
    settings: Settings,
    splits: data.Splits,
    run_dir: Path,
) -> None:
    """Runs the epochs that are left."""
    training, progress = settings.training, checkpoints.progress
    done = int(progress.epoch.numpy())
    if done >= training.epochs or int(progress.stopped.numpy()):
        return
    steps = steps_per_epoch(settings, splits.train)
    batch_size = min(training.batch_size, len(splits.train))
    batches = data.training_batches(
        splits.train,
        batch_size,
        training.seed,
        start_step=done * steps,
        missing_rate=settings.data.missing_rate,
        first_seen=settings.data.first_seen,
        mixed_rates=settings.data.mixed_rates,
        fixed_masks=settings.data.fixed_masks,
    )
    if settings.data.missing_rate == 0 and splits.train.observed.all():
        batches = batches.map(_all_seen)
    validation = data.evaluation_batches(splits.validation, min(250, len(splits.validation)))
    if splits.validation.observed.all():
        validation = validation.map(_all_seen)
    logs = run_dir / "logs"
    _write_hparams(logs, settings)
    model.fit(
        batches,
        steps_per_epoch=steps,
        initial_epoch=done,
        epochs=training.epochs,
        validation_data=validation,
        shuffle=False,
        verbose=1,
        callbacks=[
            callbacks.Throughput(batch_size * splits.train.num_steps),
            callbacks.NaNGuard(run_dir / "checkpoints"),
            callbacks.SaveAndStop(checkpoints, training.patience),
            keras.callbacks.TensorBoard(str(logs), write_graph=False),
            callbacks.Pictures(logs / "validation", splits.validation, training.image_epochs),
            callbacks.Clock(run_dir / "time.json", done),
        ],
    )


def steps_per_epoch(settings: Settings, train: data.SequenceData) -> int:
    """Updates an epoch: as set, or one pass over the training part."""
    return settings.training.steps_per_epoch or data.steps_per_pass(
        train, min(settings.training.batch_size, len(train))
    )


def _jit(settings):
    """On a CPU only the dynamics are compiled: whole steps, convolutions above all, are not."""
    choice = settings.training.jit
    if choice != "auto":
        return choice == "on"
    return bool(tf.config.list_physical_devices("GPU"))


def _all_seen(batch):
    """A batch without a mask: the model then takes the way without the coupled loop."""
    return {name: value for name, value in batch.items() if name != "observed"}


def _claim(run_dir, settings):
    """Refuses to mix two runs in one folder, and notes the settings of this one."""
    path = run_dir / "settings.json"
    mine = settings.to_dict()
    if path.exists() and settings.run.resume:
        theirs = files.read_json(path, "the settings of the run")
        for name, value in theirs.items():
            if name not in _FREE and name in mine and mine[name] != value:
                raise UserError(
                    f"--{name} is {mine[name]}, but the checkpoint in --run_dir={run_dir} was "
                    f"written with {value}: use that value, or another --run_dir"
                )
    elif path.exists():
        if not settings.run.overwrite:
            raise UserError(
                f"--run_dir={run_dir} holds a run: pass --resume to go on with it, --overwrite to "
                "start afresh, or choose another folder"
            )
        for name in ("checkpoints", "logs"):
            shutil.rmtree(run_dir / name, ignore_errors=True)
    files.write_json(path, mine)


def _write_hparams(folder, settings):
    values = {
        name: str(value) if isinstance(value, list) else value
        for name, value in settings.to_dict().items()
    }
    with tf.summary.create_file_writer(str(folder / "train")).as_default(step=0):
        hparams.hparams(values, trial_id=settings.run.run_dir)
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in values.items())
        tf.summary.text("settings", f"| flag | value |\n| --- | --- |\n{rows}")
