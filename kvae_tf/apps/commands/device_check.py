"""Compares the default device (a GPU, if there is one) with the CPU, and times it.

python scripts/device_check.py --write=runs/device.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.apps.commands.benchmark import pairs


def define() -> None:
    """The flags."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import device_check
    from kvae_tf.apps.device_check.engine import SIZES

    flags.DEFINE_list("parts", list(device_check.PARTS), "What to check, several.")
    flags.DEFINE_integer("repeats", 20, "Most calls to time in a row.", lower_bound=1)
    flags.DEFINE_list("sizes", [f"{B}x{T}" for B, T in SIZES], "engine: BxT, several.")
    flags.DEFINE_list("configs", [], "steps: configs; empty: one of every model and network.")
    flags.DEFINE_string(
        "precision_config", "box", "steps: a config for mixed precision; empty: none."
    )
    flags.DEFINE_integer(
        "batch_size", 4, "steps: sequences in a batch; 0: as the config says.", lower_bound=0
    )
    flags.DEFINE_string("saved_models", "saved_models", "exports: their folder.")
    flags.DEFINE_list("exports", [], "exports: their names; empty: all.")
    flags.DEFINE_bool(
        "tensor_float_32", True, "Let a GPU round float32 products to three digits, as by default."
    )
    flags.DEFINE_string("write", "", "A JSON file for the table; rows are added to it.")


def call() -> None:
    """Flags to one call; the exit status is 1 where a row is not ok."""
    import tensorflow as tf

    from kvae_tf.apps import device_check
    from kvae_tf.data import storage

    values = flags.FLAGS
    if values.write:
        storage.make_folder(Path(values.write).parent, "write")
    tf.config.experimental.enable_tensor_float_32_execution(values.tensor_float_32)

    def write(table):
        path = Path(values.write)
        if path.exists():
            table = device_check.added(table, storage.read_json(path, "a table of this command"))
        storage.write_json(path, table)

    if values.write:
        write(device_check.facts() | {"rows": []})  # what does not fit is said at once
    table = device_check.check(
        values.parts,
        pairs("sizes", values.sizes),
        values.configs,
        values.precision_config,
        values.batch_size,
        values.saved_models,
        values.exports,
        values.repeats,
        write if values.write else None,
    )
    wrong = sum(not row["ok"] for row in table["rows"])
    print(f"{wrong} of {len(table['rows'])} rows are not ok")
    if wrong:
        sys.exit(1)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
