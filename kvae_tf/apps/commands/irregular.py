"""Compares a model in continuous time with discrete ones, on frames at irregular times.

python scripts/irregular.py --output=runs/irregular.json

A model trains for about 10 minutes on a core.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli

# Settings that the command itself makes.
_OWN = {
    "seed", "run_dir", "overwrite", "resume", "dataset", "path_frames", "time", "time_parts",
    "train_sequences", "test_sequences", "config", "model",
}  # fmt: skip


def define() -> None:
    """The flags."""
    flags.DEFINE_enum(
        "task", "fill_in", ["fill_in", "forecast"], "Fill in frames at irregular times; or "
        "forecast 40 frames at regular times, with a fifth of the frames missing."
    )  # fmt: skip
    flags.DEFINE_list("models", [], "continuous, gaps, order; empty: all of the task.")
    flags.DEFINE_string("config", "box_irregular", "Config of the model in continuous time.")
    flags.DEFINE_integer("path_frames", 60, "Frames of a path, of which 20 are shown.", 21)
    flags.DEFINE_integer(
        "path_parts", 1, "Parts of the time between two frames of a path, at whose ends the 20 "
        "frames may fall; 1: all lie on one grid.", 1,
    )  # fmt: skip
    flags.DEFINE_integer("seed", 0, "Of data, masks and training.", 0, cli.LARGEST_SEED)
    flags.DEFINE_integer("train_sequences", 5000, "Number of training sequences.", 1)
    flags.DEFINE_integer("test_sequences", 300, "Number of test sequences.", 2)
    flags.DEFINE_list("set", [], "Settings in place of the config's: epochs=2,steps_per_epoch=5.")
    flags.DEFINE_string("run_dir", "runs/irregular", "Folder of the runs.")
    flags.DEFINE_bool("resume", False, "Go on with runs that were interrupted.")
    flags.DEFINE_string("output", None, "A JSON file, to which models are added.", required=True)


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import irregular
    from kvae_tf.data import storage
    from kvae_tf.errors import UserError
    from kvae_tf.experiments import flags as settings_flags

    values = flags.FLAGS
    fills_in = values.task == "fill_in"
    for name in () if fills_in else ("path_frames", "path_parts"):
        if values[name].present:
            raise UserError(f"--{name} is set, expected --task=fill_in: forecasts have one path")
    known = irregular.MODELS if fills_in else irregular.FORECASTERS
    models = values.models or list(known)
    for model in models:
        if model not in known:
            raise UserError(f"--models has {model!r}, expected some of {known}")
    changes = settings_flags.read([f"--{word}" for word in values.set])
    own = sorted(_OWN.intersection(changes))
    if own:
        raise UserError(f"--set has {', '.join(own)}, expected settings that this command leaves")
    output = Path(values.output)
    storage.make_folder(output.parent, "output")
    results = storage.read_json(output, "results of this command") if output.exists() else {}
    parts = f"x{values.path_parts}" if values.path_parts > 1 else ""
    task = f"{values.path_frames}{parts}" if fills_in else "forecast"
    for model in models:
        name = f"{task}/{values.seed}/{model}"
        options = {
            "config": values.config,
            "seed": values.seed,
            "run_dir": str(Path(values.run_dir) / name),
            "train_sequences": values.train_sequences,
            "test_sequences": values.test_sequences,
            "overwrite": not values.resume,
            "resume": values.resume,
        }
        if fills_in:
            path = {"path_frames": values.path_frames, "path_parts": values.path_parts}
            results[name] = irregular.compare(model, **path, **options, **changes)
        else:
            results[name] = irregular.forecast(model, **options, **changes)
        storage.write_json(output, results)
        print(f"{name}: {results[name]}", flush=True)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
