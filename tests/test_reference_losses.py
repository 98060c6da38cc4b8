"""Training with each loss that PyTorch has too, against PyTorch's: its own where it is installed, frozen otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sknn_scratch import Huber, LogLoss, MLPFromScratchClassifier, MLPFromScratchRegressor

N_STEPS, RATE = 12, 0.2
RNG = np.random.RandomState(0)
X = RNG.randn(20, 4)
WEIGHTS = [0.5 * RNG.randn(4, 3), 0.5 * RNG.randn(3, 4)]
LABELS, INDICATOR = RNG.randint(3, size=20), RNG.randint(2, size=(20, 3))
TARGETS, COUNTS = RNG.randn(20, 2), RNG.poisson(2.0, (20, 2))

# Name: our loss, targets and number of output units.
CASES = {
    "binary cross entropy": (LogLoss(), LABELS > 0, 1),
    "cross entropy": (LogLoss(), LABELS, 3),
    "multilabel": (LogLoss(), INDICATOR, 3),
    "label smoothing": (LogLoss(label_smoothing=0.2), LABELS, 3),
    "mse": ("squared_error", TARGETS, 2),
    "l1": ("absolute_error", TARGETS, 2),
    "huber": (Huber(0.7), TARGETS, 2),
    "poisson": ("poisson", COUNTS, 2),
    "gaussian nll": ("gaussian_nll", TARGETS, 4),
}
# The first row of weights, after the last step, of PyTorch 2.13 in float64.
FROZEN = {
    "binary cross entropy": [-0.5098507596778, 0.4320974677406, 0.468792253907, 0.2308589078652],
    "cross entropy": [
        -0.5816997402155,
        0.4038397744699,
        0.002911995226049,
        0.1123019099162,
        0.5332415140454,
        0.125096781906,
    ],
    "multilabel": [
        -0.4558510625888,
        0.6302632734409,
        0.3920231026126,
        0.002015065246396,
        0.4556803078314,
        0.2543599315914,
    ],
    "label smoothing": [
        -0.5862261111069,
        0.4072176337516,
        0.04749645199109,
        0.1224911778616,
        0.5251229766896,
        0.1230260513162,
    ],
    "mse": [-0.5933849727762, 0.3462063937289, 0.4224489455253, 0.2669393086551, 0.5098623887953],
    "l1": [-0.4274323557058, 0.4394326604288, 0.3805246566714, 0.5288708445939, 0.5642942959152],
    "huber": [-0.5563101168071, 0.3856027325814, 0.335933026218, 0.3342495001284, 0.5459784752917],
    "poisson": [-0.5017269469733, 0.3785366585285, 0.5920578093078, -0.2198245046578, 0.5988713898393],
    "gaussian nll": [
        -0.6364461788981,
        0.2607052126255,
        0.2822967071432,
        0.4891683734663,
        0.6319532280456,
        -0.5983718161598,
        0.4299993941631,
    ],
}


def ours(name):
    """Return the weights after each of a few steps of gradient descent on all samples."""
    loss, y, n_outputs = CASES[name]
    cls = MLPFromScratchClassifier if isinstance(loss, LogLoss) else MLPFromScratchRegressor
    model = cls(
        hidden_layer_sizes=3,
        activation="tanh",
        loss=loss,
        solver="sgd",
        momentum=0,
        learning_rate_init=RATE,
        batch_size=20,
        alpha=0,
        max_iter=1,
        fit_intercept=False,
    )
    arguments = {"classes": np.unique(y) if y.ndim == 1 else range(3)} if cls is MLPFromScratchClassifier else {}
    model.set_params(learning_rate_init=1e-300).partial_fit(X, y, **arguments)
    model.coefs_ = [WEIGHTS[0].copy(), WEIGHTS[1][:, :n_outputs].copy()]
    model.set_params(learning_rate_init=RATE)
    for _ in range(N_STEPS):
        model.partial_fit(X, y)
    return model.coefs_


def torch_loss(torch, name, z, y):
    """Return PyTorch's value, summed over the outputs and averaged over the samples, as ours is."""
    functional, n = torch.nn.functional, len(y)
    if name in ("cross entropy", "label smoothing"):
        return functional.cross_entropy(z, y, label_smoothing=0.2 if name == "label smoothing" else 0.0)
    if name == "gaussian nll":
        variance = (1e-6 + torch.exp(z[:, 2:])) ** 2
        return functional.gaussian_nll_loss(z[:, :2], y, variance, reduction="sum", eps=1e-12) / n
    if name in ("binary cross entropy", "multilabel"):
        return functional.binary_cross_entropy_with_logits(z, y.double().reshape(n, -1), reduction="sum") / n
    function = {
        "mse": lambda z, y, reduction: functional.mse_loss(z, y, reduction=reduction) / 2,
        "l1": functional.l1_loss,
        "huber": lambda z, y, reduction: functional.huber_loss(z, y, reduction=reduction, delta=0.7),
        "poisson": functional.poisson_nll_loss,
    }[name]
    return function(z, y.double(), reduction="sum") / n


def torchs(torch, name):
    """Return PyTorch's weights after the same steps."""
    _, y, n_outputs = CASES[name]
    samples, targets = torch.tensor(X), torch.tensor(y)
    parameters = [
        torch.tensor(w[:, :n].copy(), requires_grad=True) for w, n in zip(WEIGHTS, (3, n_outputs), strict=True)
    ]
    optimizer = torch.optim.SGD(parameters, lr=RATE)
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        torch_loss(torch, name, torch.tanh(samples @ parameters[0]) @ parameters[1], targets).backward()
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize("name", CASES)
def test_trajectory(name):
    hidden, output = ours(name)
    assert_allclose(np.concatenate([hidden[0], output[0]]), FROZEN[name], rtol=1e-10)
    assert np.abs(hidden - WEIGHTS[0]).max() > 0.01


@pytest.mark.parametrize("name", CASES)
def test_trajectory_is_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the frozen figures are compared")
    for mine, other in zip(ours(name), torchs(torch, name), strict=True):
        assert_allclose(mine, other, rtol=1e-10, atol=1e-13)
    hidden, output = torchs(torch, name)
    assert_allclose(np.concatenate([hidden[0], output[0]]), FROZEN[name], rtol=1e-10)
