"""Controls a simulated world by plans in a model's forecasts, from frames alone.

kvae-control --task=pendulum_strong --saved_model=saved_models/pendulum_strong --film=runs/up.gif
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string(
        "task", None, "pendulum_strong or pendulum (swing up), or cartpole (keep upright)."
    )
    flags.DEFINE_string("saved_model", "", "The model that plans: an export or a run.")
    flags.DEFINE_list(
        "policies",
        ["random", "simulator", "model"],
        "What acts: random; simulator, plans with the true simulator; model, plans by the model "
        "with distances of encodings to that of the goal; model_frames, of decoded frames.",
    )
    flags.DEFINE_integer("seeds", 50, "Number of episodes, from the seeds 0, 1 and so on.", 1)
    flags.DEFINE_integer("steps", 0, "Steps of an episode; 0: the task's own.", 0)
    flags.DEFINE_integer("horizon", 20, "Steps that a plan looks ahead.", 1)
    flags.DEFINE_integer("candidates", 200, "Candidates of an iteration.", 1)
    flags.DEFINE_integer("iterations", 4, "Iterations of the search at each step.", 1)
    flags.DEFINE_integer("seed", 0, "Of the policies' noise.", 0, cli.LARGEST_SEED)
    flags.DEFINE_string("film", "", "A .gif or .mp4 file for the first episode by each policy.")
    flags.DEFINE_string("output", "", "A JSON file, to which the task's results are added.")
    flags.mark_flags_as_required(["task"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import control
    from kvae_tf.data import storage
    from kvae_tf.planning import Search

    values = flags.FLAGS
    search = Search(
        horizon=values.horizon, candidates=values.candidates, iterations=values.iterations
    )
    output = Path(values.output) if values.output else None
    known = {}
    if output:
        storage.make_folder(output.parent, "output")
        known = storage.read_json(output, "results of this command") if output.exists() else {}
    results = control.run(
        values.task, values.saved_model, values.policies, values.seeds, values.steps, search,
        values.seed, Path(values.film) if values.film else None,
    )  # fmt: skip
    for name, row in results.items():
        print(
            f"{name}: {row['successes']} of {row['episodes']} succeeded, return {row['return']} ± "
            f"{row['return_std']} in {row['steps']} steps, {row['cpu_seconds']} CPU seconds"
        )
    if output:
        known[values.task] = known.get(values.task, {}) | results
        storage.write_json(output, known)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
