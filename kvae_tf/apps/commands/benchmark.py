"""Times the engine, a training step or a stream, or a training until it is good.

python -m kvae_tf.apps.commands.benchmark lgssm | step | stream | quality

``lgssm --against=installed`` times the engine beside other libraries that are installed;
``lgssm --cost`` shows how its cost grows with B, T, n and m.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.errors import UserError

SUBCOMMANDS = ("lgssm", "step", "stream", "quality")


def define() -> None:
    """The flags."""
    cli.import_tensorflow_quietly()
    from kvae_tf import lgssm
    from kvae_tf.apps import benchmark
    from kvae_tf.apps.against import compare, libraries

    sizes = [f"{B}x{T}" for B, T in benchmark.SIZES]
    flags.DEFINE_integer("repeats", 30, "Calls to time.", lower_bound=1)
    against_sizes = ",".join(f"{B}x{T}" for B, T in compare.SIZES)
    flags.DEFINE_list(
        "sizes", sizes, f"lgssm: BxT, several; with --against {against_sizes} by default."
    )
    flags.DEFINE_list("latent_sizes", ["4", "8", "16"], "lgssm: n, several.")
    flags.DEFINE_list("methods", list(lgssm.METHODS), "lgssm: engines to time.")
    flags.DEFINE_list(
        "against",
        [],
        "lgssm: libraries to time beside this one, instead of its methods: "
        f"{', '.join(list(libraries.LIBRARIES)[1:])}, or {libraries.INSTALLED} for those that are; "
        "n = 4, m = 2, one process each.",
    )
    flags.DEFINE_bool(
        "cost",
        False,
        "lgssm: processor time against B, T, n and m, one at a time, in place of a table.",
    )
    flags.DEFINE_string("figure", "", "lgssm --cost: a PNG file for the curves.")
    flags.DEFINE_string("saved_model", "saved_models/pendulum/1", "stream: the export.")
    flags.DEFINE_list("batch_sizes", list(map(str, benchmark.BATCH_SIZES)), "stream: several.")
    flags.DEFINE_list("configs", list(benchmark.GOALS), "quality: configs, several.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "quality: seeds of the trainings.")
    flags.DEFINE_string("run_dir", "runs/quality", "quality: folder of the runs.")
    flags.DEFINE_string("output", "", "A JSON file for the numbers.")
    flags.DEFINE_alias("write", "output")


def take_subcommand() -> str:
    """Removes the subcommand from the command line."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in SUBCOMMANDS:
        return sys.argv.pop(1)
    if not word.startswith("--help"):
        cli.fail(UserError(f"subcommand is {word!r}, expected one of {', '.join(SUBCOMMANDS)}"))
    return ""


def whole_numbers(name: str, words: list[str]) -> list[int]:
    """The words of a flag as numbers."""
    try:
        return [int(word) for word in words]
    except ValueError:
        raise UserError(f"--{name} has {'x'.join(words)!r}, expected whole numbers") from None


def pairs(name: str, words: list[str]) -> list[tuple[int, int]]:
    """The words of a flag, each BxT."""
    numbers = [tuple(whole_numbers(name, word.split("x"))) for word in words]
    for pair, word in zip(numbers, words, strict=True):
        if len(pair) != 2:
            raise UserError(f"--{name} has {word!r}, expected BxT, for example 32x20")
    return numbers


def check_alone(flag: str, subcommand: str, others: Sequence[str]) -> None:
    """Refuses what does not go with a flag that replaces the table of methods.

    Args:
      flag: name of the flag.
      subcommand: the one that was given.
      others: flags that it leaves without use.
    """
    if subcommand != "lgssm":
        raise UserError(f"--{flag} is set for {subcommand}, expected lgssm")
    for name in others:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is set, but not used with --{flag}: expected one of the two")


def call(subcommand: str) -> None:
    """Flags to one call.

    Args:
      subcommand: out of ``SUBCOMMANDS``.
    """
    from kvae_tf.apps import benchmark
    from kvae_tf.apps.against import compare
    from kvae_tf.data import storage
    from kvae_tf.visualisation import images

    values = flags.FLAGS
    if values["against"].present:
        check_alone("against", subcommand, ("latent_sizes", "methods", "cost", "figure"))
    elif values.cost:
        check_alone("cost", subcommand, ("latent_sizes", "methods", "sizes", "repeats"))
    elif values.figure:
        raise UserError("--figure is set without --cost, expected both or none")
    for flag in ("output", "figure"):
        if values[flag].value:
            storage.make_folder(Path(values[flag].value).parent, flag)
    if subcommand != "quality":
        benchmark.use_one_core()
    if values["against"].present:
        sizes = pairs("sizes", values.sizes) if values["sizes"].present else compare.SIZES
        numbers = compare.against(values.against, sizes, values.repeats)
    elif values.cost:
        numbers = benchmark.cost()
        if values.figure:
            images.save_png(values.figure, benchmark.cost_figure(numbers))
    elif subcommand == "lgssm":
        numbers = benchmark.engine(
            pairs("sizes", values.sizes),
            whole_numbers("latent_sizes", values.latent_sizes),
            values.methods,
            values.repeats,
        )
    elif subcommand == "quality":
        numbers = benchmark.quality(values.configs, cli.integers("seeds"), values.run_dir)
    elif subcommand == "stream":
        sizes = whole_numbers("batch_sizes", values.batch_sizes)
        numbers = benchmark.streaming(values.saved_model, sizes, values.repeats)
    else:
        numbers = benchmark.training_step(values.repeats)
    if values.output:
        storage.write_json(values.output, numbers)


def main() -> None:
    """Runs the command."""
    subcommand = take_subcommand()
    cli.run(lambda: call(subcommand), define, __doc__)


if __name__ == "__main__":
    main()
