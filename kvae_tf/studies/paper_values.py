"""What the papers report, to be drawn and tabulated beside what is measured here."""

from __future__ import annotations

# Fraccaro et al. (2017), figures 3a and 3b, read off the figures: fraction of incorrect pixels on
# the unobserved frames of box.
MISSING_AT_RANDOM = {
    "smooth": [0.0057, 0.0061, 0.0063, 0.0067, 0.0075, 0.0082, 0.0096, 0.0129, 0.0190, 0.0267],
    "filter": [0.0079, 0.0078, 0.0083, 0.0089, 0.0101, 0.0115, 0.0125, 0.0157, 0.0214, 0.0267],
    "ae_rnn": [0.0065, 0.0068, 0.0075, 0.0078, 0.0095, 0.0110, 0.0131, 0.0172, 0.0222, 0.0272],
    "vae_rnn": [0.0080, 0.0087, 0.0085, 0.0100, 0.0117, 0.0129, 0.0141, 0.0173, 0.0225, 0.0279],
}
GAP = {
    "smooth": [0.0062, 0.0079, 0.0100, 0.0121, 0.0149, 0.0173, 0.0200, 0.0227],
    "filter": [0.0086, 0.0116, 0.0147, 0.0175, 0.0199, 0.0221, 0.0237, 0.0257],
}

# Karl et al. (2017), table 2, and Fraccaro et al. (2017), table 1: lower bounds on the pendulum, in
# nats a frame, on data that is no longer available.
PENDULUM_BOUNDS = {
    "KVAE, cnn": 810.08,
    "KVAE, mlp": 807.02,
    "DVBF, mlp": 798.56,
    "DKF, mlp": 784.70,
}
# Karl et al. (2017), table 1: R² of sine, cosine and velocity on latent samples.
PENDULUM_R_SQUARED = {"DVBF, mlp": (0.961, 0.982, 0.916), "DKF, mlp": (0.929, 0.979, 0.035)}
