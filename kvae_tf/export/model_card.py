"""The page that lies beside an exported model and says what it is."""

from __future__ import annotations

from pathlib import Path

from kvae_tf.experiments.settings import Settings
from kvae_tf.models.base import SequenceModel

_CARD = """# {title}

{system}, trained on `{dataset}`: frames {frame_shape}, {control_size} control(s),
{encoding_size}-dimensional encodings, {dynamics}, `{network}` halves {units}, {parameters:,}
parameters.

## Results on the test part

| metric | value |
| --- | --- |
{rows}

`{bound}` in nats per frame (sum over pixels, mean over frames and sequences){floor}. Lists of
`missing_at_random` and `gap` are fractions of incorrect pixels on hidden frames.

## Use

TensorFlow is all that is needed, and the folder `1` beside this page:

```python
import tensorflow as tf

model = tf.saved_model.load("1")
filled = model.signatures["impute"](
    frames=frames,  # float32 [B, T, {frame}] in [0, 1]; NaN allowed where missing
    observed=observed,  # float32 [B, T], 1 = seen; may be left out
    controls=controls,  # float32 [B, T, {control_size}], acts from t to t + 1; may be left out
)
filled["frames"], filled["encodings"], filled["encoding_stds"]
```

Signatures: {signatures}. Batch and time are dynamic; `forecast` takes `num_steps`, `generate`
`num_sequences`, `num_steps` and `seed`.

## Training

```
{flags}
```
"""


_SYSTEMS = {
    "kvae": "A Kalman variational auto-encoder (Fraccaro et al. 2017)",
    "dvbf": "A deep variational Bayes filter (Karl et al. 2017)",
    "dkf": "A deep Kalman filter (Krishnan et al. 2015)",
    "ae_rnn": "AE-RNN, an auto-encoder of frames and an LSTM over its encodings",
    "vae_rnn": "VAE-RNN, a variational auto-encoder of frames and an LSTM over its encodings",
    "cannonball": "Independent Newtonian objects (Chiappa and Paquet 2018)",
    "ed_lstm": "ED-LSTM, an LSTM between an encoder and a decoder of frames",
}


def write(settings: Settings, model: SequenceModel, metrics: dict[str, object]) -> str:
    """The model card as Markdown.

    Args:
      settings: the experiment.
      model: the trained model.
      metrics: what ``metrics.json`` says.
    """
    floor = metrics.get("test/variance_floor")
    height, width, channels = model.frame_shape
    return _CARD.format(
        title=f"{settings.model.model} on {Path(settings.data.dataset).stem}",
        dataset=settings.data.dataset,
        frame_shape=f"{height}x{width}x{channels}",
        frame=f"{height}, {width}, {channels}",
        control_size=model.control_size,
        encoding_size=model.encoding_size,
        system=_SYSTEMS[settings.model.model],
        dynamics=_dynamics(settings.model),
        bound=model.bound_name,
        signatures=", ".join(f"`{name}`" for name in (*sorted(model.supports), model.bound_name)),
        network=settings.model.network,
        units=list(settings.model.units),
        parameters=model.count_params(),
        rows="\n".join(f"| {key} | {format_value(value)} |" for key, value in metrics.items()),
        floor="" if floor is None else f", with a variance floor of {floor:g}",
        flags="\n".join(
            f"--{key}={_flag(value)}"
            for key, value in settings.to_dict().items()
            if key not in ("run_dir", "export_dir", "cache_dir", "resume", "overwrite")
        ),
    )


def _dynamics(model):
    states = f"{model.latent_size}-dimensional latent states"
    return {
        "kvae": f"{states}, {model.num_modes} modes",
        "dvbf": f"{states}, {model.transition.replace('_', ' ')} transition",
        "dkf": f"{states}, dense transition of {model.transition_units} units",
    }.get(model.model, f"an LSTM of {model.dynamics_units} units")


def format_value(value: object) -> str:
    """A metric as people read it: four decimals, lists with commas."""
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _flag(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
