"""Every model, objective and posterior, small enough to be differentiated at once."""

import re

from kvae_tf.data import WORLDS, training_batches
from kvae_tf.experiments import presets
from kvae_tf.training import build as building

B = 4
CASES = {
    "vae_rnn": {"pretraining_epochs": 1},
    "ae_rnn": {"pretraining_epochs": 1},
    "ed_lstm": {},
    "dvbf": {},
    "dkf": {},
    "kvae": {},
    "kvae_sampled": {"objective": "sampled"},
    "kvae_constrained": {"objective": "constrained", "pretraining_epochs": 1, "standardised": True},
    "kvae_state": {"dynamics_network": "state", "affine_modes": True, "mode_noise": True,
                   "shared_emission": True, "linear_encoder": True, "decoder_features": 4,
                   "dynamics_features": 3, "pretraining_epochs": 1},
    "cannonball": {"posterior": "attention"},
    "cannonball_smoothed": {"posterior": "smoothed", "hypotheses": 2, "refinements": 1,
                            "map_degree": 3, "settling_epochs": 1, "epochs": 2},
}  # fmt: skip


def model_of(case):
    """The name of a case's model."""
    return re.sub("_(sampled|constrained|state|smoothed)$", "", case)


def build(case, **changes):
    """A compiled model and a batch of B sequences, with gaps where the model allows them."""
    name = model_of(case)
    balls = name == "cannonball"
    world = "cannonballs_small" if balls else "pendulum"
    train = WORLDS[world].splits(0, num_sequences=(B, 1, 1), num_steps=5).train
    own = {"model": name, "dataset": world, "batch_size": B, "network": "mlp", "state_size": 16}
    plan = presets.settings("pendulum_smoke", **({"jit": "off"} | own | CASES[case] | changes)).plan
    model = building.build(plan, train)
    model.compile(building.optimizer(model, plan, train))
    return model, next(iter(training_batches(train, B, 0, missing_rate=0.0 if balls else 0.3)))
