"""The public calls of every model: inputs are checked here, once, then a model's own code runs.

A model implements the queries that it answers as methods with an underscore before the name,
``_encode``, ``_smooth`` …; these get checked tensors. A query that a model does not implement
raises a ``UserError`` and is not in ``supports``.
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
    averages_frames = False
    imputation_methods = ("smooth", "filter")
    reads_times = False
    time_unit = 1.0

    @property
    def supports(self) -> frozenset[str]:
        """Names of the queries that this model answers, out of ``QUERIES``."""
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
          UserError: the frames do not fit, or the model does not encode single frames.
        """
        self._need("encode")
        return self._answer("encode", inputs.check_frames(self, frames))

    def decode(self, encodings, num_objects=None):
        """Frame means of encodings.

        Args:
          encodings: ``[..., m]``; for models with objects ``[B, T, m]``.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.

        Returns:
          ``[..., H, W, C]`` in [0, 1].

        Raises:
          UserError: the encodings do not fit.
        """
        self._need("decode")
        encodings = inputs.check_encodings(self, encodings)
        return self._answer("decode", encodings, inputs.check_counts(self, num_objects, encodings))

    def filter(self, frames, observed=None, controls=None, num_objects=None, times=None):
        """Moments of the latents given the frames up to each step.

        Args:
          frames: ``[B, T, H, W, C]``, with one channel also ``[B, T, H, W]``, vectors also
            ``[B, T, D]``; float in [0, 1] or uint8, any value where unobserved. A frame with a NaN
            pixel is missing; a vector is missing if all its entries are NaN.
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, T, U]``; ``controls[:, t]`` acts from frame t to t + 1. None: zeros.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, T]`` seconds at which the frames were taken, strictly increasing, for models
            in continuous time; None: equally spaced (default).

        Returns:
          ``Latents``.

        Raises:
          UserError: an input does not fit, or the model does not filter.
        """
        self._need("filter")
        given = inputs.check(self, frames, observed, controls, num_objects, times=times)
        return self._answer("filter", given)

    def smooth(self, frames, observed=None, controls=None, num_objects=None, times=None):
        """Moments of the latents given all frames.

        Args:
          frames: ``[B, T, H, W, C]``, float in [0, 1] or uint8; NaN: missing (see ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, T, U]``; None: zeros.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, T]`` seconds at which the frames were taken, strictly increasing, for models
            in continuous time; None: equally spaced (default).

        Returns:
          ``Latents``.

        Raises:
          UserError: an input does not fit, or the model does not smooth.
        """
        self._need("smooth")
        given = inputs.check(self, frames, observed, controls, num_objects, times=times)
        return self._answer("smooth", given)

    def impute(
        self,
        frames,
        observed=None,
        controls=None,
        method=None,
        num_objects=None,
        times=None,
        at=None,
    ):
        """Reconstructions where frames were seen, filled in where they are missing.

        Args:
          frames: ``[B, T, H, W, C]``, float in [0, 1] or uint8; NaN: missing (see ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, T, U]``; None: zeros.
          method: ``"smooth"`` fills in from all frames, ``"filter"`` from earlier frames only;
            None: the first of ``imputation_methods``.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, T]`` seconds at which the frames were taken, strictly increasing, for models
            in continuous time; None: equally spaced (default).
          at: ``[B, R]`` seconds, in any order, from the first frame on, for models in continuous
            time: the answer is about these times, in place of the frames', and follows the mean
            where a model has several ``paths``. At most 10,000 time units after the last frame.
            None: about the frames (default).

        Returns:
          ``Frames``.

        Raises:
          UserError: an input does not fit, or the model does not have the method.
        """
        self._need("impute")
        method = inputs.check_method(self, method)
        given = inputs.check(self, frames, observed, controls, num_objects, times=times)
        if at is None:
            return self._answer("impute", given, method)
        return self._answer("impute_at", given, inputs.check_at(self, at, times, given), method)

    def forecast(
        self, frames, observed=None, controls=None, num_steps=1, num_objects=None, times=None
    ):
        """The frames that follow the given ones.

        Args:
          frames: ``[B, T, H, W, C]``, the context, float in [0, 1] or uint8; NaN: missing (see
            ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, S, U]`` with T - 1 <= S; steps after S get zeros. None: zeros.
          num_steps: K, number of steps to forecast, 1 by default.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, S]`` seconds, strictly increasing, T <= S <= T + K, for models in continuous
            time; steps after S are ``time_unit`` apart. None: equally spaced (default).

        Returns:
          ``Frames`` of K steps.

        Raises:
          UserError: an input does not fit, or the model does not forecast.
        """
        self._need("forecast")
        num_steps = inputs.check_size("num_steps", num_steps)
        given = inputs.check(
            self, frames, observed, controls, num_objects, ahead=num_steps, times=times
        )
        return self._answer("forecast", given, num_steps)

    def generate(
        self, num_sequences, num_steps, controls=None, seed=0, num_objects=None, times=None
    ):
        """Sequences from the prior: latents and encodings are drawn, frames are their means.

        Args:
          num_sequences: B, number of sequences.
          num_steps: T, number of steps.
          controls: ``[B, S, U]``; steps after S get zeros. None: zeros.
          seed: an int, a stateless pair or a ``Sampler``.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, S]`` seconds, strictly increasing, for models in continuous time; steps after
            S are ``time_unit`` apart. None: equally spaced (default).

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
        times = inputs.check_future_times(self, times, num_sequences, num_steps)
        more = (times,) if self.reads_times else ()
        return self._answer("generate", controls, num_steps, as_sampler(seed), counts, *more)

    def score(self, frames, observed=None, controls=None, num_objects=None, times=None):
        """How well each frame fits what came before it; low values are surprising.

        The encoding of a frame is the mean of q(a | x), nothing is drawn. Its score depends on the
        frames up to its own only. Frames at the start of a sequence have low scores, as nothing is
        known of their motion yet.

        Args:
          frames: ``[B, T, H, W, C]``, float in [0, 1] or uint8; NaN: missing (see ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, T, U]``; None: zeros.
          num_objects: ``[B]``, numbers of objects, for models with objects; None: ``max_objects``.
          times: ``[B, T]`` seconds at which the frames were taken, strictly increasing, for models
            in continuous time; None: equally spaced (default).

        Returns:
          ``Scores``: ``scores``, ``encoding_scores`` and ``reconstruction_scores``, each
          ``[B, T]`` nats, 0 where a frame is missing.

        Raises:
          UserError: an input does not fit, or the model does not score.
        """
        self._need("score")
        given = inputs.check(self, frames, observed, controls, num_objects, times=times)
        return self._answer("score", given)

    def filter_start(self, batch_size=1):
        """The filter's state before the first frame.

        Args:
          batch_size: B, number of sequences, 1 by default.

        Returns:
          A nest of tensors, the ``state`` of the first ``filter_step``.

        Raises:
          UserError: the model does not filter frame by frame.
        """
        self._need("filter_start")
        return self._filter_start(inputs.check_size("batch_size", batch_size))

    def filter_step(self, state, frames, observed=None, controls=None, interval=None):
        """Filters one more frame of each sequence; over a whole sequence it equals ``filter``.

        Args:
          state: state after the earlier frames, from ``filter_start`` or ``filter_step``.
          frames: ``[B, H, W, C]``, float in [0, 1] or uint8; any value where unobserved.
          observed: ``[B]``, 1 = seen, 0 = missing; None: all are seen.
          controls: ``[B, U]``, act from this frame to the next; None: zeros.
          interval: ``[B]`` seconds since the frame before, positive, for models in continuous time;
            without effect for the first frame. None: ``time_unit`` (default).

        Returns:
          The next state; and a dictionary of filtered ``frames [B, H, W, C]`` (for a missing frame
          its expectation), ``encodings [B, m]``, ``encoding_stds [B, m]``, ``latents [B, n]`` and
          ``latent_covariances [B, n, n]``; if the model can ``score``, also the frame's ``scores``,
          ``encoding_scores`` and ``reconstruction_scores``, ``[B]`` (see ``Scores``).

        Raises:
          UserError: an input does not fit, the state is that of another number of sequences, or the
            model does not filter frame by frame.
        """
        self._need("filter_step")
        given = inputs.check_step(self, frames, observed, controls, interval)
        inputs.check_state(state, given.frames)
        return self._answer("filter_step", state, given)

    def rollout(self, state, frames, controls, observed=None):
        """The K steps after a frame, under each of N candidate sequences of controls.

        Means only, and no frames are decoded: a forecast for a planner that compares thousands of
        candidates. The state stays as it is; ``filter_step`` with the controls that were chosen
        goes on from it.

        Args:
          state: state after the earlier frames, from ``filter_start`` or ``filter_step``.
          frames: ``[B, H, W, C]``, the latest frames, float in [0, 1] or uint8; any value where
            unobserved.
          controls: ``[B, N, K, U]``; ``controls[:, :, 0]`` acts from this frame to the next.
          observed: ``[B]``, 1 = seen, 0 = missing; None: all are seen.

        Returns:
          ``Rollout``.

        Raises:
          UserError: an input does not fit, the state is that of another number of sequences, or the
            model does not filter frame by frame.
        """
        self._need("rollout")
        given, controls = inputs.check_rollout(self, frames, observed, controls)
        inputs.check_state(state, given.frames)
        return self._answer("rollout", state, given, controls)

    def locate(self, frames, observed=None, num_objects=None):
        """Positions of the objects, inferred from the frames.

        Args:
          frames: ``[B, T, H, W, C]``, float in [0, 1] or uint8; NaN: missing (see ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen. The moments of a
            missing frame are not defined.
          num_objects: ``[B]``, numbers of objects; None: ``max_objects``.

        Returns:
          ``Encoding``: means and standard deviations ``[B, T, N, 2]``.

        Raises:
          UserError: an input does not fit, or the model has no objects.
        """
        self._need("locate")
        return self._answer("locate", inputs.check(self, frames, observed, None, num_objects))

    def components(self, frames, observed=None, num_objects=None):
        """p(z = k | a), the probability of each mixture component of an object's initial state.

        Args:
          frames: ``[B, T, H, W, C]``, float in [0, 1] or uint8; NaN: missing (see ``filter``).
          observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
          num_objects: ``[B]``, numbers of objects; None: ``max_objects``.

        Returns:
          ``[B, N, K]``.

        Raises:
          UserError: an input does not fit, or the model has no objects.
        """
        self._need("components")
        return self._answer("components", inputs.check(self, frames, observed, None, num_objects))

    def _need(self, query):
        if query not in self.supports:
            raise UserError(
                f"{type(self).__name__} does not {query}; it can {', '.join(sorted(self.supports))}"
            )

    def _answer(self, query, *given):
        """What the model's own code for a query makes of checked inputs."""
        return getattr(self, f"_{query}")(*given)

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

    def _impute_at(self, given: Inputs, at, method: str):
        """``Frames`` at the times ``[B, R]``, seconds since the first frame."""
        raise NotImplementedError

    def _forecast(self, given: Inputs, num_steps):
        """``Frames`` of the steps that follow; controls ``[B, T + num_steps, U]``."""
        raise NotImplementedError

    def _generate(self, controls, num_steps, sampler: Sampler, num_objects):
        """``Frames`` from the prior; controls ``[B, T, U]``. With ``reads_times`` also times."""
        raise NotImplementedError

    def _score(self, given: Inputs):
        """``Scores``."""
        raise NotImplementedError

    def _filter_start(self, batch_size):
        """A state before the first frame."""
        raise NotImplementedError

    def _filter_step(self, state, given: Inputs):
        """The next state and a dictionary of moments; inputs without a time axis.

        ``given.times`` are the seconds since the frames before.
        """
        raise NotImplementedError

    def _rollout(self, state, given: Inputs, controls):
        """``Rollout`` under controls ``[B, N, K, U]``; inputs without a time axis, controls 0."""
        raise NotImplementedError

    def _locate(self, given: Inputs):
        """``Encoding`` of positions ``[B, T, N, 2]``."""
        raise NotImplementedError

    def _components(self, given: Inputs):
        """Probabilities ``[B, N, K]``."""
        raise NotImplementedError
