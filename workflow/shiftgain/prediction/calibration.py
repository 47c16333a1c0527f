"""Probabilities that hold on the source: logistic regression of its masks on the logits of its network."""

import numpy as np

# Of the log-likelihood per pixel, on the squares of slope and offset: keeps them finite where masks are separable.
RIDGE = 1e-5
# Newton's method doubles the right digits in each step; from 0 it needs about ten.
MOST_STEPS = 50
TOLERANCE = 1e-6


def platt(logits: np.ndarray, foreground: np.ndarray) -> tuple[float, float]:
    """(a, b) that maximise sum log p(y | a z + b) - RIDGE n (a^2 + b^2) / 2 over n logits z (n,) and labels y (n,).

    Platt 1999, Probabilistic outputs for support vector machines; by Newton's method from 0. scikit-learn's
    LogisticRegression differs in the sixth digit, and the shipped forest was fitted on these.
    """
    x = np.stack([logits, np.ones_like(logits)]).astype(float)
    ridge = RIDGE * logits.size * np.eye(2)
    theta = np.zeros(2)
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-(theta @ x)))
        gradient = x @ (p - foreground) + ridge @ theta
        step = np.linalg.solve((x * (p * (1 - p))) @ x.T + ridge, gradient)
        theta -= step
        if np.abs(step).max() < TOLERANCE:
            break
    return float(theta[0]), float(theta[1])
