"""How the least error possible on hidden frames is measured, see ``kvae_tf.studies.bayes_floor``.

``measure`` gives the numbers of a world: of a Bayesian who knows the simulator (``starts``), and of
a linear Gaussian model that knows at each step which affine map holds (``known_modes``).
"""

from kvae_tf.studies.least_error.measure import measure

__all__ = ["measure"]
