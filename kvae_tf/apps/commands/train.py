"""Trains a model: kvae-train --flagfile=configs/pendulum.cfg."""

from __future__ import annotations

import dataclasses

from absl import flags

from kvae_tf.apps import cli, helptext


def define() -> None:
    """The flags: the settings of every model, those of plugins included."""
    cli.define_plugins()
    from kvae_tf.experiments import flags as settings_flags

    settings_flags.define()


def sections(arguments: list[str]) -> cli.Sections:
    """What ``--help`` lists: the settings of the chosen model, by group.

    Args:
      arguments: words of the command line.

    Raises:
      UserError: there is no such model.
    """
    from kvae_tf.experiments import flags as settings_flags
    from kvae_tf.experiments import settings

    model = settings_flags.chosen_model(arguments)
    listed = {
        name: [helptext.of_field(field) for field in dataclasses.fields(kind)]
        for name, kind in settings.parts(model).items()
    }
    choice = helptext.of_field(settings.fields()["model"])
    listed["model"] = [choice, helptext.of_flag(flags.FLAGS["plugin"]), *listed["model"]]
    titles = {
        "data": "Data",
        "model": f"Model (of --model={model}; another one's: --model=NAME --help)",
        "training": "Training",
        "run": "Run",
    }
    return {titles[name]: entries for name, entries in listed.items()}


def call() -> None:
    """Flags to one call."""
    from kvae_tf.experiments import flags as settings_flags
    from kvae_tf.experiments import recipe, run

    values = settings_flags.checked()
    run.run(*recipe.complete(values, settings_flags.is_on_command_line("flagfile")))


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__, sections)


if __name__ == "__main__":
    main()
