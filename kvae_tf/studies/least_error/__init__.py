"""How the least error possible on hidden frames is measured, see ``kvae_tf.studies.bayes_floor``.

``bouncing.measure`` gives the numbers of one bouncing ball: of a Bayesian who knows the simulator
(``starts``), and of a linear Gaussian model that knows at each step which affine map holds
(``known_modes``). ``newton.measure`` gives those of cannonballs.
"""

from kvae_tf.studies.least_error import bouncing, newton

# World -> what measures it: a function of the world, the number of test sequences and a seed.
MEASURES = {
    "box": bouncing.measure,
    "gravity": bouncing.measure,
    "cannonballs": newton.measure,
    "cannonballs_small": newton.measure,
}

__all__ = ["MEASURES"]
