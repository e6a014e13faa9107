r"""Several independent objects, each a Newtonian state-space model, rendered into one frame.

Chiappa and Paquet. Every object n has a position a_t^n, the noisy emission of a linear Gaussian
state-space model; a recurrent renderer makes the frame of all positions, a recurrent attention
network infers the positions from the frame:

    p(v, a) = Π_t p(v_t | a_t^{1:N})  Π_n p(a_{1:T}^n)                  equations 2, 5, 10
    q(a | v) = Π_{t,n} N(a_t^n; μ(s_t^n), σ²(s_t^n))                    equation 9
    bound   = E_q[ln p(v | a)] + E_q[ln p(a)] - E_q[ln q(a | v)]        equation 7

with ln p(a^n) exact, by one Kalman filter for each mixture component of the initial state, and the
entropy of q in closed form. While the weight β of the last two terms falls to 1 the bound is
annealed.

Section 2.3 names the weakness of this q: it does not use the dynamics, and training gets stuck
where an object is one ball in some frames and another ball in others. With
``posterior="smoothed"`` the outputs of attention are readings of the positions with a known
variance, and q is the exact posterior of the state-space model given these readings; frames can
then only be rendered along trajectories that obey Newton's laws.

======  ==================  ====================
letter  name                shape
======  ==================  ====================
v       ``frames``          ``[B, T, H, W, C]``
a       ``encodings``       ``[B, T, N · m]``
h       ``latents``         ``[B, T, N · 2m]``
z       ``mode_weights``    ``[B, T, N · K]``
N       ``num_objects``     ``[B]``
======  ==================  ====================

With ``collision_modes`` objects meet walls and each other: see ``collisions``. The law that leads
from step t to the next then hangs on the frames up to t, as α_t of the KVAE does: it is that at the
means of filters. Given it, all is linear Gaussian, and p(v) is a density over sequences still.

Where a frame is missing, attention reads the rendered predictions of the Kalman filters instead
(section 3.5).
"""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import BernoulliFrames, Encoding
from kvae_tf.models import inputs
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.cannonball import assignment, together
from kvae_tf.models.cannonball.attention import RecurrentAttention, RecurrentRenderer
from kvae_tf.models.cannonball.collisions import Law
from kvae_tf.models.cannonball.newtonian import NewtonianMixture
from kvae_tf.models.cannonball.refinement import LightReadings
from kvae_tf.models.cannonball.straightening import PolynomialMap
from kvae_tf.models.contract import Bound, Frames, Latents
from kvae_tf.models.inputs import Inputs
from kvae_tf.models.training_step import Phase

POSTERIORS = ("attention", "smoothed")

_POSITION_SIZE = 2
_REWEIGHTINGS = 3  # of readings by their distance from the smoothed path


@keras.saving.register_keras_serializable("kvae_tf")
class Cannonball(SequenceModel):
    """Independent objects that move by Newton's laws.

    Batches also hold ``num_objects [B]``; without it every sequence shows ``max_objects``.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: 0, since the model has no controls.
      max_objects: largest number of objects in a sequence, 2 by default.
      state_size: width of attention and renderer, 256 by default.
      num_components: number K of mixture components of an object's initial state, 2 by default.
      motion_step: initial value of the time step δ, 0.1 by default.
      transition_noise: initial value of the variance Σ_H of the transition noise, 1e-3 by default.
      learn_noise: learn Σ_H (default), else keep it.
      emission_noise: initial value of the variance Σ_A of the emission noise, 1 by default.
      initial_variance: initial value of the variance Σ_k of an object's initial state, 1 by
        default.
      initial_spread: initial standard deviation of the means μ_k among each other, 1 by default.
      kl_weight: initial value of the weight β, 1 by default.
      kl_updates: number of updates over which β falls geometrically to 1; 0: β is 1 (default).
      frozen_updates: number of first updates in which the parameters of the motion are frozen, with
        the smoothed posterior only its noises; 0: none (default).
      attention_frozen_updates: number of first updates in which attention is frozen; 0: none
        (default).
      settling_start: number of updates after which the noises and the initial state's mixture are
        no longer learned by gradients, but fitted by ``motion_em``; 0: never (default).
      posterior: ``"attention"``: equation 9 (default); ``"smoothed"``: the exact posterior of the
        motion given attention's readings.
      first_looks: number of times that attention looks at a sequence's first frame, 1 by default.
      hypotheses: number of hypotheses about which of attention's readings belong to which object,
        see ``assignment``; 0: attention's own order (default).
      refinements: number of times that readings are made anew from the light near the smoothed
        path, see ``refinement``, once it is fitted; 0: attention's readings (default).
      student_degrees: degrees of freedom of a Student t distribution of the readings, by which the
        smoother trusts those less that are off; 0: Gaussian readings (default).
      decoded_paths: number of draws of the positions of whose frames an imputed frame is the mean;
        0: it is the frame of the mean positions (default).
      map_degree: degree of the polynomial map from attention's plane to that of the motion, see
        ``straightening``; 0: the two are the same (default).
      collision_modes: number of modes by which objects meet walls and each other; 0: they do not
        (default).
      collision_units: width of the networks of these modes, 64 by default.
      **training: arguments of ``TrainableModel``, for instance ``noise_seed``.

    Raises:
      UserError: ``control_size`` is not 0, ``posterior`` is unknown, or ``refinements``,
        ``student_degrees`` or ``collision_modes`` is not 0 while nothing reads the positions.
    """

    def __init__(
        self,
        frame_shape,
        control_size=0,
        max_objects=2,
        state_size=256,
        num_components=2,
        motion_step=0.1,
        transition_noise=1e-3,
        learn_noise=True,
        emission_noise=1.0,
        initial_variance=1.0,
        initial_spread=1.0,
        kl_weight=1.0,
        kl_updates=0,
        frozen_updates=0,
        attention_frozen_updates=0,
        settling_start=0,
        posterior="attention",
        first_looks=1,
        hypotheses=0,
        refinements=0,
        student_degrees=0.0,
        decoded_paths=0,
        map_degree=0,
        collision_modes=0,
        collision_units=64,
        **training,
    ):
        if posterior not in POSTERIORS:
            raise UserError(f"posterior is {posterior!r}, expected one of {', '.join(POSTERIORS)}")
        if control_size:
            raise UserError(
                f"the data have controls of size {control_size}, expected none: nothing acts on "
                "the objects of this model"
            )
        _need_readings(
            posterior,
            refinements=refinements,
            student_degrees=student_degrees,
            collision_modes=collision_modes,
        )
        super().__init__(**training)
        self.record_arguments(locals())
        self.frame_shape = tuple(frame_shape)
        self.control_size = 0
        self.max_objects = max_objects
        self.kl_weight = kl_weight
        self.kl_updates = kl_updates
        self.frozen_updates = frozen_updates
        self.attention_frozen_updates = attention_frozen_updates
        self.settling_start = settling_start
        self.posterior = posterior
        self.hypotheses = hypotheses
        self.refinements = refinements
        self.student_degrees = student_degrees
        self.decoded_paths = decoded_paths
        self.attention = RecurrentAttention(
            max_objects, state_size, _POSITION_SIZE, first_looks=first_looks, name="attention"
        )
        self.renderer = RecurrentRenderer(frame_shape, state_size, _POSITION_SIZE, name="renderer")
        self.likelihood = BernoulliFrames(name="likelihood")
        self.to_motion = self.from_motion = None
        if map_degree:
            self.to_motion = PolynomialMap(_POSITION_SIZE, map_degree, name="to_motion")
            self.from_motion = PolynomialMap(_POSITION_SIZE, map_degree, name="from_motion")
        self.light_readings = None
        if refinements:
            self.light_readings = LightReadings(frame_shape, _POSITION_SIZE, name="light_readings")
        self.motion = NewtonianMixture(
            num_components,
            _POSITION_SIZE,
            motion_step,
            transition_noise,
            emission_noise,
            initial_variance,
            initial_spread,
            learn_noise,
            collision_modes,
            collision_units,
            name="motion",
        )

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        self.attention.build((None, None, *self.frame_shape))
        self.renderer.build()
        self.likelihood.build((None, *self.frame_shape))
        self.motion.build()
        for layer in (self.to_motion, self.from_motion, self.light_readings):
            if layer is not None:
                layer.build()
        self.built = True

    @property
    def term_names(self):
        return ("reconstruction", "regularisation")

    @property
    def elbo_is_log_weight(self):
        """True for the smoothed posterior; attention's has its entropy in closed form."""
        return self.posterior == "smoothed"

    @property
    def averages_frames(self):
        return self.decoded_paths > 0

    @property
    def encoding_size(self):
        return self.max_objects * _POSITION_SIZE

    @property
    def dynamics_variables(self):
        return self.motion.trainable_variables

    @property
    def phases(self):
        """The motion is frozen at first, so that attention and renderer learn smooth trajectories.

        The smoothed posterior itself prefers smooth trajectories while the noises are small: so
        only the noises are frozen. Attention that was initialised with good readings is frozen
        until the other parts have learned from them. In the last phase the noises and the initial
        state's mixture, for which gradients get stuck, are left to ``motion_em.fit_motion``; with
        ``refinements`` attention rests in it, since its readings only say where to begin.
        """
        changes = (self.frozen_updates, self.attention_frozen_updates, self.settling_start)
        starts = sorted({0, *changes})
        lengths = [*np.diff(starts), 0]
        return [
            Phase(self._bound_after(start), self._learned_after(start), int(length))
            for start, length in zip(starts, lengths, strict=True)
        ]

    def _bound_after(self, done):
        """Who is who is asked in the last phase only: it takes time, and the motion to be right."""
        is_last = self.settling_start and done >= self.settling_start
        return self.settled_bound if is_last else self.training_bound

    def _learned_after(self, done):
        """The variables that are not frozen after ``done`` updates."""
        motion, frozen = self.motion, []
        if done < self.attention_frozen_updates:
            frozen += self.attention.trainable_variables
        if done < self.frozen_updates:
            noises = self.posterior == "smoothed"
            frozen += motion.noise_variables if noises else motion.trainable_variables
        settles = self.settling_start and done >= self.settling_start
        if settles:
            frozen += motion.noise_variables + motion.start_variables
        if self.light_readings is not None:
            unused = self.attention if settles else self.light_readings
            frozen += unused.trainable_variables
        if motion.collisions is not None:  # fitted by ``collision_fit``
            frozen += [*motion.collisions.trainable_variables, motion.log_transition_noise]
        return _without(self.trainable_variables, frozen)

    # The bound.

    def elbo(self, batch, seed):
        """Equation 7, nats, at one draw of the positions."""
        return self._bound(batch, seed, 1.0)

    def training_bound(self, batch, seed):
        """``elbo`` of what attention itself reads, its last two terms multiplied with β."""
        return self._bound(batch, seed, self._weight(), settled=False)

    def settled_bound(self, batch, seed):
        """``elbo``; in its ``annealed`` value the last two terms are multiplied with β."""
        return self._bound(batch, seed, self._weight())

    def _weight(self):
        """β, which falls to 1."""
        if not self.kl_updates:
            return 1.0
        done = tf.cast(self.optimizer.iterations, tf.float32) / self.kl_updates
        return tf.pow(self.kl_weight, 1.0 - tf.minimum(done, 1.0))

    def _bound(self, batch, seed, weight, settled=True):
        given = inputs.of_batch(self, batch)
        frames, seen, num_objects = given.frames, given.seen, given.num_objects
        q = self._locate(given) if settled else self._read(given)
        present, sampler = self._present(num_objects), lgssm.as_sampler(seed)  # present: [B, N]
        if self.posterior == "smoothed":
            a, log_ratio = self._draw_smoothed(q, seen, present, sampler)
        else:
            a, log_ratio = self._draw(q, seen, sampler)
        everywhere = tf.repeat(present[:, tf.newaxis], tf.shape(frames)[1], axis=1)
        log_p = self.likelihood.log_prob(self._render(a, everywhere), frames)
        reconstruction = tf.reduce_sum(seen * log_p, axis=1)
        regularisation = tf.reduce_sum(present * log_ratio, axis=1)
        terms = {"reconstruction": reconstruction, "regularisation": regularisation}
        return Bound(
            reconstruction + regularisation,
            terms,
            tf.maximum(tf.reduce_sum(seen, axis=1), 1.0),
            reconstruction + weight * regularisation,
        )

    def _draw(self, q, seen, sampler):
        """a from equation 9, and ln p(a) plus the entropy of q, ``[B, N]``."""
        a = q.mean + q.std * sampler.normal(tf.shape(q.mean))
        entropy = tf.reduce_sum(tf.math.log(q.std) + 0.5 * (1.0 + math.log(2.0 * math.pi)), axis=-1)
        entropy = tf.reduce_sum(seen[..., tf.newaxis] * entropy, axis=1)
        return a, self._each_object(self.motion.log_prob, seen, a) + entropy

    def _draw_smoothed(self, q, seen, present, sampler):
        """a from the smoothed posterior, and ln p - ln q, ``[B, N]``."""
        a, log_ratio = self.motion.posterior_sample(
            _apart(q.mean),
            self._variances(q),
            tf.repeat(seen, self.max_objects, axis=0),
            sampler,
            self._law(q, seen, present),
        )
        return _together(a, self.max_objects), tf.reshape(log_ratio, [-1, self.max_objects])

    def _law(self, q, seen, present):
        """The law along the paths of all objects, ``[B · N, T, ...]``; None: nothing is met."""
        if self.motion.collisions is None:
            return None
        law = together.follow(self.motion, q.mean, tf.square(q.std), seen, present).law
        return Law(*(tf.stop_gradient(_apart(x)) for x in law))

    # Positions.

    def _read(self, given):
        """What attention reads: moments of the positions, ``[B, T, N, m]``."""
        if given.observed is None:
            return self._straightened(self.attention(given.frames, given.num_objects))
        return self._locate_with_gaps(given.frames, given.observed, given.num_objects)

    def _locate(self, given, smooth=True):
        """Moments of the positions, ``[B, T, N, m]``; those of a filter hang on no later frame."""
        q, hypotheses = self._read(given), self.hypotheses if smooth else min(self.hypotheses, 1)
        q = self._in_order(q, given.seen, given.num_objects, hypotheses)
        if self.light_readings is None:
            return q
        return self._refined(q, given.frames, given.seen, given.num_objects, smooth)

    @tf.function(autograph=False)  # so that an export holds it once, not for each signature
    def _refined(self, q, frames, seen, num_objects, smooth):
        """Readings of the light near the smoothed path, or near what was read of the same frame."""
        present, start = self._present(num_objects), q
        everywhere = tf.repeat(present[:, tf.newaxis], tf.shape(frames)[1], axis=1)
        for _ in range(self.refinements if smooth else 1):
            expected = q.mean
            if smooth:
                h, _, _ = self._smooth_readings(q, seen, self._law(q, seen, present))
                expected = _together(h, self.max_objects)[..., :_POSITION_SIZE]
            q = self.light_readings(frames, expected, everywhere)
            q = self._in_order(q, seen, num_objects, self.hypotheses if smooth else 1)
        is_fitted = self.light_readings.is_fitted > 0
        return Encoding(*(tf.where(is_fitted, x, y) for x, y in zip(q, start, strict=True)))

    def _in_order(self, q, seen, num_objects, hypotheses):
        """Readings given to the objects whose motion they fit; 0 hypotheses: attention's order."""
        if not hypotheses or self.max_objects == 1:
            return q
        return self._reordered(q, seen, num_objects, hypotheses)

    @tf.function(autograph=False)  # so that an export holds it once, not for each signature
    def _reordered(self, q, seen, num_objects, hypotheses):
        is_reading = self.posterior == "smoothed"
        order = assignment.orders(
            self.motion,
            q.mean,
            tf.square(q.std) if is_reading else tf.zeros_like(q.std),
            seen,
            num_objects,
            hypotheses,
        )
        chosen = tf.one_hot(order, self.max_objects, dtype=q.mean.dtype)
        return Encoding(*(tf.einsum("btnr,btrm->btnm", chosen, x) for x in q))

    def _straightened(self, q):
        """What attention reads, in the plane of the motion."""
        if self.to_motion is None:
            return q
        return Encoding(self.to_motion(q.mean), self.to_motion.image_std(*q))

    def _render(self, positions, present):
        """Logits of frames with objects at positions in the plane of the motion."""
        if self.from_motion is not None:
            positions = self.from_motion(positions)
        return self.renderer(positions, present)

    @tf.function(autograph=False)  # so that an export holds it once, not for each signature
    def _locate_with_gaps(self, frames, seen, num_objects):
        """Attention together with Kalman filters, whose rendered predictions it reads in gaps."""
        batch, N, K = tf.shape(frames)[0], self.max_objects, self.motion.num_components
        n, m = 2 * _POSITION_SIZE, _POSITION_SIZE
        present = self._present(num_objects)
        components = tf.tile(tf.range(K), [batch * N])
        ssm = self.motion.model(components)

        def step(carry, given):
            states, means, covariances, log_weights = carry
            frame, seen = given
            best = tf.one_hot(tf.argmax(log_weights, axis=-1), K)[..., tf.newaxis]  # [B, N, K, 1]
            expected = tf.reduce_sum(best * tf.reshape(means, [batch, N, K, n])[..., :m], axis=2)
            rendered = self.likelihood.mean(self._render(expected, present))
            shown = tf.where(seen[:, None, None, None] > 0, frame, tf.stop_gradient(rendered))
            states = self.attention.step(states, self.attention.project(shown))
            q = self._straightened(self.attention.read(states))
            positions = _each_component(q.mean, K)[:, tf.newaxis]
            now = ssm._replace(initial_mean=means, initial_covariance=covariances)
            if self.posterior == "smoothed":
                variances = _each_component(tf.square(q.std), K)[:, tf.newaxis]
                now = now._replace(emission_noise=ssm.emission_noise + variances)
            result = lgssm.filter(
                now,
                positions,
                tf.repeat(seen, N * K)[:, tf.newaxis],
            )
            log_weights += tf.reshape(result.log_likelihood, [batch, N, K])
            filtered = tf.reshape(result.filtered_means[:, 0], [batch, N, K, n])
            best = tf.one_hot(tf.argmax(log_weights, axis=-1), K)[..., tf.newaxis]
            law = self.motion.law(tf.reduce_sum(best * filtered, axis=2), present)
            if self.motion.collisions is not None:
                law = Law(*(_each_component(x, K) for x in law))
            means, covariances = law.predict(
                result.filtered_means[:, 0], result.filtered_covariances[:, 0]
            )
            return (states, means, covariances, log_weights), (q.mean, q.std)

        prior = tf.nn.log_softmax(self.motion.component_logits)
        start = (
            self.attention.start(num_objects, self.attention.project(frames[:, 0]), seen[:, 0]),
            ssm.initial_mean,
            ssm.initial_covariance,
            tf.zeros([batch, N, K]) + prior,
        )
        inputs = (tf.transpose(frames, [1, 0, 2, 3, 4]), tf.transpose(seen))
        shapes = [[frames.shape[0], N, m]] * 2
        _, moments = lgssm.scan(step, start, inputs, shapes)
        return Encoding(*(tf.transpose(x, [1, 0, 2, 3]) for x in moments))

    def _components(self, given):
        """p(z | a) at the means of q."""
        q = self._locate(given)
        law = self._law(q, given.seen, self._present(given.num_objects))
        return tf.nn.softmax(self._component_log_probs(q, given.observed, law))

    # Queries.

    def _decode(self, encodings, num_objects):
        """Frame means of positions ``[B, T, N · 2]``."""
        a = self._split(encodings)
        present = tf.repeat(self._present(num_objects)[:, tf.newaxis], tf.shape(a)[1], axis=1)
        return self.likelihood.mean(self._render(a, present))

    def _expected_frames(self, means, stds, num_objects):
        """Mean frames of positions with means and standard deviations ``[B, T, N · 2]``.

        The draws are the same in every call, so that an imputation has no noise of its own.
        """
        from scipy.stats import qmc  # takes its time, and few models need it

        # Spread evenly (Sobol), so that a few draws stand for many: the first of a power of two.
        sobol = qmc.MultivariateNormalQMC(np.zeros(self.encoding_size), rng=0)
        whole = sobol.random(2 ** math.ceil(math.log2(self.decoded_paths)))
        noises = whole[: self.decoded_paths, np.newaxis, np.newaxis].astype(np.float32)

        def add(total, noise):
            return total + self._decode(means + stds * noise, num_objects)

        nothing = tf.zeros(tf.concat([tf.shape(means)[:2], self.frame_shape], axis=0))
        nothing = tf.ensure_shape(nothing, [*means.shape[:2], *self.frame_shape])
        return tf.foldl(add, noises, initializer=nothing) / self.decoded_paths

    def _filter(self, given):
        return self._infer(given, smooth=False)[0]

    def _smooth(self, given):
        """Moments of each object's likeliest component, ``4N``: x, y and their velocities."""
        return self._infer(given, smooth=True)[0]

    def _impute(self, given, method):
        """Positions by attention where frames were seen, by the motion elsewhere.

        All numbers of an absent object are 0. After the last frame seen nothing lies ahead: there a
        filter's are those of the smoother, since with ``refinements`` it has better readings.
        """
        inferred = self._infer(given, method == "smooth")
        if method != "smooth" and self.light_readings is not None:
            ahead = tf.cumsum(given.seen, axis=1, reverse=True) > 0
            inferred = _where(ahead, inferred, self._infer(given, smooth=True))
        latents, q, weights = inferred
        shape = tf.shape(q.mean)
        known = given.seen[..., tf.newaxis, tf.newaxis] > 0
        means = tf.reshape(latents.means, tf.concat([shape[:3], [2 * _POSITION_SIZE]], 0))
        variances = tf.reshape(tf.linalg.diag_part(latents.covariances), tf.shape(means))
        expected, variances = means[..., :_POSITION_SIZE], variances[..., :_POSITION_SIZE]
        spread = tf.sqrt(variances + self.motion.emission_noise)
        a, std = q
        if self.posterior == "smoothed":
            a, variances = self.motion.moments(expected, q.mean, tf.square(q.std), variances)
            std = tf.sqrt(variances)
        there = self._present(given.num_objects)[:, tf.newaxis, :, tf.newaxis]
        a = _join(there * tf.where(known, a, expected))
        if self.decoded_paths:
            unknown = _join(there * tf.where(known, 0.0, spread))
            frames = self._expected_frames(a, unknown, given.num_objects)
        else:
            frames = self._decode(a, given.num_objects)
        return Frames(
            frames,
            a,
            _join(there * tf.where(known, std, spread)),
            _join(there * means),
            _join(weights),
        )

    def _forecast(self, given, num_steps):
        """A forecast by imputation (section 3.4)."""
        return inputs.forecast_by_imputation(self, given, num_steps)

    def _generate(self, controls, num_steps, sampler, num_objects):
        present = self._present(num_objects)
        a = _join(together.sample(self.motion, present, num_steps, sampler))
        return Frames(
            self._decode(a, num_objects), a, tf.zeros_like(a), tf.zeros_like(a[..., :0]),
            tf.zeros_like(a[..., :0]),
        )  # fmt: skip

    def _infer(self, given: Inputs, smooth):
        """``Latents``, the ``Encoding`` and p(z | a) ``[B, T, N, K]``."""
        q, seen = self._locate(given, smooth), given.seen
        law = self._law(q, seen, self._present(given.num_objects))
        shape = tf.shape(q.mean)  # [B, T, N, 2]
        if smooth:
            if self.student_degrees:
                q = self._without_outliers(q, seen, law)
            h, P, log_weights = self._smooth_readings(q, seen, law)
            log_weights = tf.repeat(log_weights[:, tf.newaxis], shape[1], axis=1)
        else:
            mask = tf.repeat(seen, self.max_objects, axis=0)
            h, P, log_weights = self.motion.filter(_apart(q.mean), mask, self._variances(q), law)
            log_weights = _together(log_weights, self.max_objects)
        N, n = self.max_objects, 2 * _POSITION_SIZE
        h = _together(h, N)
        P = tf.reshape(P, [shape[0], N, shape[1], n, n])
        # Objects are independent: the covariance of all is block diagonal.
        P = tf.einsum("bitjk,il->btijlk", P, tf.eye(N))
        size = N * n
        latents = Latents(_join(h), tf.reshape(P, [shape[0], shape[1], size, size]))
        return latents, q, tf.nn.softmax(log_weights)

    @tf.function(autograph=False)  # so that an export holds it once
    def _smooth_readings(self, q, seen, law):
        """Moments ``[B · N, T, ...]`` of the likeliest components, and ln p(z, a) ``[B, N, K]``."""
        log_weights = self._component_log_probs(q, seen, law)
        best = tf.argmax(log_weights, axis=-1, output_type=tf.int32)
        ssm = self.motion.model(tf.reshape(best, [-1]), self._variances(q), law)
        result = lgssm.smooth(ssm, _apart(q.mean), tf.repeat(seen, self.max_objects, axis=0))
        return result.smoothed_means, result.smoothed_covariances, log_weights

    def _without_outliers(self, q, seen, law):
        """Readings, those with wider variances that are far from the smoothed positions.

        A Student t distribution with ν degrees of freedom is a Gaussian with an unknown precision,
        whose mean is (ν + m) / (ν + d²) times the usual one for a reading that is d standard
        deviations off. Smoother and precisions follow each other; none rises above the usual one.
        """
        degrees, noise = self.student_degrees, self.motion.emission_noise
        usual, robust = tf.square(q.std) + noise, q
        for _ in range(_REWEIGHTINGS):
            h, _, _ = self._smooth_readings(robust, seen, law)
            off = q.mean - _together(h, self.max_objects)[..., :_POSITION_SIZE]
            distance = tf.reduce_sum(tf.square(off) / usual, axis=-1, keepdims=True)
            precision = tf.minimum((degrees + _POSITION_SIZE) / (degrees + distance), 1.0)
            robust = Encoding(q.mean, tf.sqrt(usual / precision - noise))
        return robust

    def _component_log_probs(self, q, observed, law):
        """ln p(z = k, a) of each object, ``[B, N, K]``."""
        log_probs = functools.partial(
            self.motion.component_log_probs, variances=self._variances(q), law=law
        )
        return self._each_object(log_probs, observed, q.mean)

    def _variances(self, q):
        """Variances of the readings ``[B · N, T, m]``; None where readings are the positions."""
        return tf.square(_apart(q.std)) if self.posterior == "smoothed" else None

    def _each_object(self, function, observed, positions):
        """``function`` of the trajectories of all objects, with axes ``[B, N, ...]``."""
        mask = None if observed is None else tf.repeat(observed, self.max_objects, axis=0)
        values = function(_apart(positions), mask)
        shape = tf.concat([[tf.shape(positions)[0], self.max_objects], tf.shape(values)[1:]], 0)
        return tf.reshape(values, shape)

    def _present(self, num_objects):
        """``[B, N]``, 1 = the object is present."""
        return tf.sequence_mask(num_objects, self.max_objects, tf.float32)

    def _split(self, encodings):
        shape = tf.shape(encodings)
        split = tf.reshape(encodings, [shape[0], shape[1], self.max_objects, _POSITION_SIZE])
        return tf.ensure_shape(split, [None, None, self.max_objects, _POSITION_SIZE])


def _need_readings(posterior, **values):
    for name, value in values.items():
        if value and posterior != "smoothed":
            raise UserError(
                f"{name} is {value}, expected 0 with posterior={posterior!r}, which has no readings"
            )


def _without(variables, frozen):
    frozen = {id(variable) for variable in frozen}
    return [variable for variable in variables if id(variable) not in frozen]


def _where(condition, one, other):
    """Of two structures of tensors ``[B, T, ...]``, one where a condition ``[B, T]`` holds."""

    def choose(x, y):
        ones = [1] * (x.shape.rank - 2)
        return tf.where(tf.reshape(condition, tf.concat([tf.shape(condition), ones], 0)), x, y)

    return tf.nest.map_structure(choose, one, other)


def _each_component(x, K):
    """``[B, N, ...]`` -> ``[B N K, ...]``.

    No tf.repeat: inside a loop XLA cannot compile its gradient for a GPU.
    """
    return _rows(_rows(tf.stack([x] * K, axis=2)))


def _rows(x):
    """``[B, N, ...] -> [B · N, ...]``."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))


def _apart(x):
    """``[B, T, N, ...] -> [B · N, T, ...]``."""
    return _rows(tf.transpose(x, [0, 2, 1, *range(3, x.shape.rank)]))


def _together(x, max_objects):
    """``[B · N, T, ...] -> [B, T, N, ...]``; undoes ``_apart``."""
    split = tf.reshape(x, tf.concat([[-1, max_objects], tf.shape(x)[1:]], axis=0))
    return tf.transpose(split, [0, 2, 1, *range(3, split.shape.rank)])


def _join(x):
    """The last two axes as one."""
    return tf.reshape(x, tf.concat([tf.shape(x)[:-2], [x.shape[-2] * x.shape[-1]]], axis=0))
