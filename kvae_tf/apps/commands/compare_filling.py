"""Compares how missing entries of public tables are filled in, here and by statsmodels.

python scripts/compare_filling.py --output=saved_models/tables/filling.json

It needs `pip install -e '.[compare]'` and takes about an hour on a core.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_list("tables", [], "Names of tables; empty: all.")
    flags.DEFINE_list("methods", [], "Of them only these, added to the file; empty: all.")
    flags.DEFINE_list("seeds", [str(i) for i in range(10)], "Seeds of the hidden entries.")
    flags.DEFINE_string("output", None, "A JSON file, to which tables are added.", required=True)


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import filling
    from kvae_tf.data import storage
    from kvae_tf.errors import UserError

    values = flags.FLAGS
    names = values.tables or list(filling.TABLES)
    for name in names:
        if name not in filling.TABLES:
            raise UserError(f"--tables has {name!r}, expected some of {', '.join(filling.TABLES)}")
    methods = values.methods or list(filling.METHODS)
    for method in methods:
        if method not in filling.METHODS:
            raise UserError(f"--methods has {method!r}, expected some of {filling.METHODS}")
    output = Path(values.output)
    storage.make_folder(output.parent, "output")
    results = storage.read_json(output, "results of this command") if output.exists() else {}
    for name in names:
        found = filling.compare(name, cli.integers("seeds"), methods)
        known = results.get(name, {})
        results[name] = found | {
            pattern: known.get(pattern, {}) | rows
            for pattern, rows in found.items()
            if pattern != "shape"
        }
        storage.write_json(output, results)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
