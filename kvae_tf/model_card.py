"""The page that lies beside an exported model and says what it is."""

from __future__ import annotations

from kvae_tf.models.base import SequenceModel
from kvae_tf.settings import Settings

_CARD = """# {name}

A Kalman variational auto-encoder (Fraccaro et al. 2017) trained on `{dataset}`: frames
{frame_shape}, {control_size} control(s), {encoding_size}-dimensional encodings,
{latent_size}-dimensional latent states, {num_modes} modes, `{network}` halves {units},
{parameters:,} parameters.

## Results on the test part

| metric | value |
| --- | --- |
{rows}

ELBO in nats per frame (sum over pixels, mean over frames and sequences){floor}.

## Use

TensorFlow is all that is needed:

```python
import tensorflow as tf

model = tf.saved_model.load("{name}/1")
filled = model.signatures["impute"](
    frames=frames,      # float32 [B, T, {frame}] in [0, 1]; NaN allowed where missing
    observed=observed,  # float32 [B, T], 1 = seen; may be left out
    controls=controls,  # float32 [B, T, {control_size}], acts from t to t + 1; may be left out
)
filled["frames"], filled["encodings"], filled["encoding_stds"]
```

Signatures: `encode`, `decode`, `filter`, `smooth`, `impute` (smoothing), `impute_filter`,
`forecast` (`num_steps`), `generate` (`num_sequences`, `num_steps`, `seed`). Batch and time are
dynamic.

## Training

```
{flags}
```
"""


def write(name: str, settings: Settings, model: SequenceModel, metrics: dict[str, object]) -> str:
    """The model card as Markdown.

    Args:
      name: the model's name.
      settings: the experiment.
      model: the trained model.
      metrics: what ``metrics.json`` says.
    """
    floor = metrics.get("test/variance_floor")
    height, width, channels = model.frame_shape
    return _CARD.format(
        name=name,
        dataset=settings.data.dataset,
        frame_shape=f"{height}x{width}x{channels}",
        frame=f"{height}, {width}, {channels}",
        control_size=model.control_size,
        encoding_size=settings.model.encoding_size,
        latent_size=settings.model.latent_size,
        num_modes=settings.model.num_modes,
        network=settings.model.network,
        units=list(settings.model.units),
        parameters=model.count_params(),
        rows="\n".join(f"| {key} | {_format(value)} |" for key, value in metrics.items()),
        floor="" if floor is None else f", with a variance floor of {floor:g}",
        flags="\n".join(
            f"--{key}={_flag(value)}"
            for key, value in settings.to_dict().items()
            if key not in ("run_dir", "export_dir", "cache_dir", "resume", "overwrite")
        ),
    )


def _format(value):
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _flag(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
