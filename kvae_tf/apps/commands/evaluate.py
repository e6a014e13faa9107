"""Evaluates a model: kvae-evaluate --saved_model=saved_models/box/1 --experiment=gap,modes."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    cli.define_plugins()
    from kvae_tf import studies

    flags.DEFINE_string("run", "", "A run's folder; this or --saved_model is required.")
    flags.DEFINE_string("saved_model", "", "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_list(
        "experiment",
        [],
        f"Out of {', '.join(studies.STUDIES)}, with commas between; empty: all that apply.",
    )
    flags.DEFINE_string(
        "output", "", "Where the files go; empty: evaluation/ in or beside the model."
    )
    flags.DEFINE_string(
        "dataset", "", "Other data than the model was trained on: world or PATH.npz."
    )
    flags.DEFINE_string("annotations", "", "A CSV file for the videos of --dataset.")
    flags.DEFINE_float("max_memory", None, "GiB that files may take; unset: as in the training.")
    flags.DEFINE_integer("seed", None, "Another seed of the data.", 0, cli.LARGEST_SEED)
    flags.DEFINE_bool(
        "live", False, "Take the live model of an export, for what an earlier version lacks."
    )
    flags.DEFINE_bool("validation", False, "Look at the validation part instead of the test part.")


def call() -> None:
    """Flags to one call."""
    from kvae_tf import studies
    from kvae_tf.data import storage
    from kvae_tf.experiments import targets

    values = flags.FLAGS
    studies.check(values.experiment)  # before anything is read or written
    subject = targets.find(
        values.run, values.saved_model, values.dataset, values.seed, values.validation,
        values.annotations, values.max_memory, values.live,
    )  # fmt: skip
    model_folder = Path(values.run) if values.run else Path(values.saved_model).parent
    folder = storage.make_folder(values.output or model_folder / "evaluation", "output")
    studies.run(values.experiment, subject, folder)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
