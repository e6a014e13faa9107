"""The whole check: a table, and the facts about the machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from kvae_tf.apps.device_check import engine, exports, steps
from kvae_tf.apps.device_check.rows import CPU, HEADER, default_device, line
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets

PARTS = ("engine", "steps", "exports")


def check(
    parts: Sequence[str] = PARTS,
    sizes: Sequence[tuple[int, int]] = engine.SIZES,
    configs: Sequence[str] = (),
    precision_config: str = "",
    batch_size: int = 4,
    saved_models: str | Path = "saved_models",
    names: Sequence[str] = (),
    repeats: int = 20,
    after_row: Callable[[dict[str, object]], None] | None = None,
) -> dict[str, object]:
    """Compares the default device with the CPU and prints a table.

    Args:
      parts: out of ``PARTS``, all by default.
      sizes: engine: pairs (B, T).
      configs: steps: names of configs; empty: ``steps.default_configs()`` (default).
      precision_config: steps: the config that is also run in mixed precision; empty: none
        (default).
      batch_size: steps: number of sequences in a batch, 4 by default; 0: as the config says.
      saved_models: exports: their folder, ``saved_models`` by default.
      names: exports: their names; empty: all (default).
      repeats: the most calls to time in a row, 20 by default.
      after_row: is given the result so far after each row; None: nothing is (default).

    Returns:
      ``device`` (its name), ``tensorflow`` (version), ``tensor_float_32`` (whether float32 products
      are rounded on a GPU), and ``rows``, each as a dictionary of the fields of ``Row``.

    Raises:
      UserError: a part, a config or an export is unknown, or a size is not positive.
    """
    if not parts:
        raise UserError(f"--parts is empty, expected some of {', '.join(PARTS)}")
    for part in parts:
        if part not in PARTS:
            raise UserError(f"--parts has {part!r}, expected some of {', '.join(PARTS)}")
    for B, T in sizes:
        if min(B, T) < 1:
            raise UserError(f"--sizes has {B}x{T}, expected positive numbers")
    chosen = list(configs) or (steps.default_configs() if "steps" in parts else [])
    _known("configs", chosen)
    _known("precision_config", [precision_config] if precision_config else [])
    found = exports.find(Path(saved_models), names) if "exports" in parts else []
    parts_rows = {
        "engine": lambda: engine.rows(sizes, repeats),
        "steps": lambda: steps.rows(chosen, precision_config, batch_size, repeats),
        "exports": lambda: exports.rows(found, repeats),
    }
    about = facts()
    print(", ".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    print(HEADER, flush=True)
    rows = []
    for part in PARTS:
        if part in parts:
            for row in parts_rows[part]():
                rows.append(row)
                print(line(row), flush=True)
                if after_row is not None:
                    after_row(_result(about, rows))
    return _result(about, rows)


def _result(about, rows):
    return about | {"rows": [row._asdict() for row in rows]}


def facts() -> dict[str, object]:
    """What a table says of the machine: the fields of ``check``'s result but ``rows``."""
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    return {
        "device": _device_name(),
        "tensorflow": tf.__version__,
        "tensor_float_32": bool(rounded),
    }


def added(table: dict[str, object], known: dict[str, object]) -> dict[str, object]:
    """A table with the rows of an older one that it lacks, which come first.

    Args:
      table: what ``check`` returned.
      known: an older table.

    Raises:
      UserError: the older one is of another device, version or precision.
    """
    for name in ("device", "tensorflow", "tensor_float_32"):
        if known.get(name) != table[name]:
            raise UserError(
                f"--write has a table with {name} {known.get(name)}, expected {table[name]}: "
                "choose another file"
            )
    names = {row["name"] for row in table["rows"]}
    kept = [row for row in known["rows"] if row["name"] not in names]
    return table | {"rows": kept + table["rows"]}


def _known(flag, configs):
    """Raises a ``UserError`` that names the flag where there is no such config."""
    for config in configs:
        try:
            presets.flags(config)
        except UserError as error:
            raise UserError(f"--{flag}: {error}") from None


def _device_name():
    """What the maker calls the default device."""
    if default_device() == CPU:
        return f"CPU ({platform.machine()})"
    gpu = tf.config.list_physical_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
