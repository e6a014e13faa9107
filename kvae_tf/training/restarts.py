"""Several initialisations are trained for a few epochs, and the best one is trained on.

The first epochs of a training of latent dynamics mostly decide in which local optimum it ends: for
instance whether the states hold a velocity, or which object attention follows. The best
initialisation has the lowest training loss on held-out sequences, or fills in their hidden frames
best; true states are not used.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import tensorflow as tf

from kvae_tf import data
from kvae_tf.data import storage
from kvae_tf.errors import DivergedError, UserError
from kvae_tf.evaluation import imputation
from kvae_tf.models.base import SequenceModel
from kvae_tf.training import callbacks
from kvae_tf.training.build import TrainingPlan, build, compile_model
from kvae_tf.training.checkpoints import Checkpoints
from kvae_tf.training.fit import train

_HELD_OUT = 250  # sequences on which losses are compared


def select_best(
    model: SequenceModel,
    checkpoints: Checkpoints,
    plan: TrainingPlan,
    splits: data.Splits,
    run_dir: Path,
) -> None:
    """Trains ``--starts`` initialisations for ``--starting_epochs`` and restores the best.

    Each initialisation has its own folder ``RUN_DIR/starts/NUMBER``, so that a resumed run goes on
    where it was. ``RUN_DIR/starts/losses.json`` has the loss of each initialisation, or its error
    (``--starts_by``), null where it is no longer a number; ``RUN_DIR/time.json`` has the seconds of
    all of them together.

    Args:
      model: a model that is built and compiled; its values are replaced.
      checkpoints: the model's checkpoints, where the best state is saved.
      plan: the whole training.
      splits: the three parts of the data.
      run_dir: the run's folder.

    Raises:
      UserError: no initialisation has a finite loss.
    """
    epochs = plan.training.starting_epochs
    folders = [run_dir / "starts" / str(start) for start in range(plan.training.starts)]
    losses, seconds = [], 0.0
    for start, folder in enumerate(folders):
        print(f"start {start + 1} of {len(folders)}")
        one = build(plan, splits.train, start)
        states = compile_model(one, plan, splits.train, folder / "checkpoints")
        states.restore_last()
        try:
            train(one, states, plan, splits, folder, epochs)
            losses.append(held_out_error(one, splits.validation, plan.training.starts_by))
        except DivergedError as error:
            # On a line of its own, after the unfinished one of Keras' progress bar.
            print(f"\nstart {start + 1} of {len(folders)} is out: {error.what}")
            losses.append(math.nan)
        if (folder / "time.json").exists():  # not before the end of a first epoch
            seconds += callbacks.seconds(folder / "time.json")
    finite = [start for start, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        raise UserError(
            f"--starts={len(folders)}: no initialisation has a finite loss, expected at least one "
            "(try a lower --learning_rate or --clip_norm)"
        )
    best = min(finite, key=losses.__getitem__)
    written = [loss if math.isfinite(loss) else None for loss in losses]
    storage.write_json(run_dir / "starts" / "losses.json", {"losses": written, "best": best})
    storage.write_json(run_dir / "time.json", {"seconds": seconds, "epochs": epochs})
    winner = Checkpoints(folders[best] / "checkpoints", model)
    winner.restore_last()
    for mine, theirs in zip(checkpoints.progress.variables, winner.progress.variables, strict=True):
        mine.assign(theirs)
    checkpoints.save(is_best=True)
    for folder in folders:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a start may have saved none
    print(f"start {best + 1} goes on: losses {', '.join(f'{loss:.3f}' for loss in losses)}")


def held_out_error(model: SequenceModel, validation: data.SequenceData, by: str = "loss") -> float:
    """The current training loss on up to 250 held-out sequences, with fixed noise; or an error.

    Args:
      model: a compiled model.
      validation: the held-out sequences.
      by: ``"loss"`` (default), or ``"imputation"``: root mean squared error of filled-in frames.

    Raises:
      UserError: the model or the sequences do not allow imputation.
    """
    part = validation.select(slice(0, _HELD_OUT))
    if by == "imputation":
        if "impute" not in model.supports or part.num_steps < 3:
            raise UserError(
                "--starts_by is imputation, expected loss for a model that cannot impute, or for "
                f"sequences of {part.num_steps} frames"
            )
        return imputation(model, part)[f"imputation/{model.imputation_methods[0]}_rmse"]
    batch = next(iter(data.evaluation_batches(part, len(part))))
    return float(tf.function(model.held_out_loss, autograph=False)(batch))
