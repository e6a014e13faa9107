"""The public calls of every model: inputs are checked here, once, then a model's own code runs.

A model implements the calls that it can answer under the same name with an underscore before it,
``_encode``, ``_smooth`` …; these get checked tensors. What it does not implement is refused with
one line, and is not in ``supports``.
"""

from __future__ import annotations

from kvae_tf.errors import UserError
from kvae_tf.lgssm import Sampler, as_sampler
from kvae_tf.models import inputs
from kvae_tf.models.contract import QUERIES
from kvae_tf.models.inputs import Inputs


class Queries:
    """The queries of ``contract.VideoModel``, for live models and loaded exports alike."""

    max_objects = 0
    is_vector = False
    bound_name = "elbo"
    elbo_is_log_weight = False
    variance_floor = None
    filter_warmup = 0
    imputation_methods = ("smooth", "filter")

    @property
    def supports(self) -> frozenset[str]:
        """The queries that this model answers, out of ``QUERIES``."""
        return frozenset(
            name
            for name in QUERIES
            if getattr(type(self), f"_{name}") is not getattr(Queries, f"_{name}")
        )

    def encode(self, frames):
        """q(a | x) of each frame.

        Args:
          frames: ``[..., H, W, C]``, float in [0, 1] or uint8.

        Returns:
          ``Encoding``: means and standard deviations ``[..., m]``.

        Raises:
          UserError: the frames do not fit, or the model has no encoding of single frames.
        """
        self._need("encode")
        return self._encode(inputs.check_frames(self, frames))

    def decode(self, encodings, num_objects=None):
        """Frame means of encodings.

        Args:
          encodings: ``[..., m]``; of models that know objects ``[B, T, m]``.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``[..., H, W, C]`` in [0, 1].

        Raises:
          UserError: the encodings do not fit.
        """
        self._need("decode")
        encodings = inputs.check_encodings(self, encodings)
        return self._decode(encodings, inputs.check_counts(self, num_objects, encodings))

    def filter(self, frames, observed=None, controls=None, num_objects=None):
        """Moments of the latents given the frames up to each step.

        Args:
          frames: ``[B, T, H, W, C]``, of one channel also ``[B, T, H, W]``, of vectors
            ``[B, T, D]``; float in [0, 1] or uint8, anything where unobserved. A frame with a NaN
            is missing, and a vector of NaNs.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all.
          controls: ``[B, T, U]``; ``controls[:, t]`` acts from frame t to t + 1. None: zeros.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``Latents``.

        Raises:
          UserError: an input does not fit, or the model does not filter.
        """
        self._need("filter")
        return self._filter(inputs.check(self, frames, observed, controls, num_objects))

    def smooth(self, frames, observed=None, controls=None, num_objects=None):
        """Moments of the latents given all frames.

        Args:
          frames: ``[B, T, H, W, C]``, as of ``filter``.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all.
          controls: ``[B, T, U]``; None: zeros.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``Latents``.

        Raises:
          UserError: an input does not fit, or the model does not smooth.
        """
        self._need("smooth")
        return self._smooth(inputs.check(self, frames, observed, controls, num_objects))

    def impute(self, frames, observed=None, controls=None, method=None, num_objects=None):
        """Reconstructions where frames were seen, filled in where they are missing.

        Args:
          frames: ``[B, T, H, W, C]``, as of ``filter``.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all.
          controls: ``[B, T, U]``; None: zeros.
          method: ``"smooth"`` fills in from all frames, ``"filter"`` from the earlier ones only;
            None: the first of ``imputation_methods``.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``Frames``.

        Raises:
          UserError: an input does not fit, or the model does not know the method.
        """
        self._need("impute")
        method = inputs.check_method(self, method)
        return self._impute(inputs.check(self, frames, observed, controls, num_objects), method)

    def forecast(self, frames, observed=None, controls=None, num_steps=1, num_objects=None):
        """The frames that follow the given ones.

        Args:
          frames: ``[B, T, H, W, C]``, the context, as of ``filter``.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all.
          controls: ``[B, S, U]`` with T - 1 <= S; what lies beyond S counts as zero. None: zeros.
          num_steps: K.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``Frames`` of K steps.

        Raises:
          UserError: an input does not fit, or the model does not forecast.
        """
        self._need("forecast")
        num_steps = inputs.check_size("num_steps", num_steps)
        given = inputs.check(self, frames, observed, controls, num_objects, ahead=num_steps)
        return self._forecast(given, num_steps)

    def generate(self, num_sequences, num_steps, controls=None, seed=0, num_objects=None):
        """Sequences from the prior: latents and encodings are drawn, frames are their means.

        Args:
          num_sequences: B.
          num_steps: T.
          controls: ``[B, S, U]``; what lies beyond S counts as zero. None: zeros.
          seed: an int, a stateless pair or a ``Sampler``.
          num_objects: ``[B]``, of models that know objects; all that there can be if absent.

        Returns:
          ``Frames``.

        Raises:
          UserError: an input does not fit, or the model does not generate.
        """
        self._need("generate")
        num_sequences = inputs.check_size("num_sequences", num_sequences)
        num_steps = inputs.check_size("num_steps", num_steps)
        controls = inputs.check_future_controls(self, controls, num_sequences, num_steps)
        counts = inputs.check_counts(self, num_objects, controls)
        return self._generate(controls, num_steps, as_sampler(seed), counts)

    def filter_start(self, batch_size=1):
        """The filter's state before the first frame.

        Args:
          batch_size: B.

        Returns:
          A nest of tensors, to be handed to ``filter_step``.

        Raises:
          UserError: the model does not filter frame by frame.
        """
        self._need("filter_start")
        return self._filter_start(inputs.check_size("batch_size", batch_size))

    def filter_step(self, state, frames, observed=None, controls=None):
        """What one more frame of each sequence says; over a whole sequence it is ``filter``.

        Args:
          state: of the frames before, from ``filter_start`` or this call.
          frames: ``[B, H, W, C]``; anything where unobserved.
          observed: ``[B]``, 1 = seen, 0 = missing; None: all.
          controls: ``[B, U]``, acts from this frame to the next; None: zeros.

        Returns:
          The next state; and a dictionary of ``frames`` (of a missing one the expectation),
          ``encodings``, ``encoding_stds``, ``latents`` and ``latent_covariances``, filtered,
          without a time axis.

        Raises:
          UserError: an input does not fit, or the model does not filter frame by frame.
        """
        self._need("filter_step")
        return self._filter_step(state, inputs.check_step(self, frames, observed, controls))

    def locate(self, frames, observed=None, num_objects=None):
        """Positions of the objects, read off the frames.

        Args:
          frames: ``[B, T, H, W, C]``, as of ``filter``.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all. Where a frame is missing the
            moments mean nothing.
          num_objects: ``[B]``; all that there can be if absent.

        Returns:
          ``Encoding``: means and standard deviations ``[B, T, N, 2]``.

        Raises:
          UserError: an input does not fit, or the model knows no objects.
        """
        self._need("locate")
        return self._locate(inputs.check(self, frames, observed, None, num_objects))

    def components(self, frames, observed=None, num_objects=None):
        """p(z = k | a), the probability of each component of an object's start.

        Args:
          frames: ``[B, T, H, W, C]``, as of ``filter``.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all.
          num_objects: ``[B]``; all that there can be if absent.

        Returns:
          ``[B, N, K]``.

        Raises:
          UserError: an input does not fit, or the model knows no objects.
        """
        self._need("components")
        return self._components(inputs.check(self, frames, observed, None, num_objects))

    def _need(self, query):
        if query not in self.supports:
            raise UserError(
                f"{type(self).__name__} does not {query}; it can {', '.join(sorted(self.supports))}"
            )

    # What a model implements.

    def _encode(self, frames):
        """``Encoding`` of float32 frames ``[..., H, W, C]``."""
        raise NotImplementedError

    def _decode(self, encodings, num_objects):
        """Frame means of float32 encodings ``[..., m]``."""
        raise NotImplementedError

    def _filter(self, given: Inputs):
        """``Latents`` given the frames up to each step."""
        raise NotImplementedError

    def _smooth(self, given: Inputs):
        """``Latents`` given all frames."""
        raise NotImplementedError

    def _impute(self, given: Inputs, method: str):
        """``Frames`` by a method out of ``imputation_methods``."""
        raise NotImplementedError

    def _forecast(self, given: Inputs, num_steps):
        """``Frames`` of the steps that follow; controls ``[B, T + num_steps, U]``."""
        raise NotImplementedError

    def _generate(self, controls, num_steps, sampler: Sampler, num_objects):
        """``Frames`` from the prior; controls ``[B, T, U]``."""
        raise NotImplementedError

    def _filter_start(self, batch_size):
        """A state before the first frame."""
        raise NotImplementedError

    def _filter_step(self, state, given: Inputs):
        """The next state, and what is known; inputs without a time axis."""
        raise NotImplementedError

    def _locate(self, given: Inputs):
        """``Encoding`` of positions ``[B, T, N, 2]``."""
        raise NotImplementedError

    def _components(self, given: Inputs):
        """Probabilities ``[B, N, K]``."""
        raise NotImplementedError
