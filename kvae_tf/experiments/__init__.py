"""From settings to results: flags, presets, runs, sweeps, comparisons."""
