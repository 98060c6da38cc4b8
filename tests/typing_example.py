"""What a user writes, for mypy and pyright (see .ci/run): what comes back has a type, and nothing right is flagged.

Where something wrong has to be flagged, the comment that silences it would be reported as unused if it were not.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from sknn_scratch import Cosine, LeakyReLU, MLPFromScratchClassifier, MLPFromScratchRegressor

Array = NDArray[Any]


def main() -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 60, 3))

    regressor = MLPFromScratchRegressor(
        "gaussian_nll",
        (8,),
        LeakyReLU(0.1),
        learning_rate=Cosine(),
        batch_size=20,
        max_iter=50,
        target_transform="standardize",
    ).fit(X, y[:, 0], X_val=X, y_val=y[:, 0])
    assert_type(regressor, MLPFromScratchRegressor)
    assert_type(regressor.partial_fit(X, y[:, 0]), MLPFromScratchRegressor)
    assert_type(regressor.predict(X), Array)
    mean, deviation = regressor.predict(X, return_std=True)
    assert_type(mean, Array)
    assert_type(deviation, Array)
    print((regressor.predict(X) - mean).max(), regressor.coefs_[0].shape, regressor.score(X, y[:, 0]))

    for activation in ["relu", "tanh"]:  # a name as it comes out of a grid or a file
        classifier = MLPFromScratchClassifier(hidden_layer_sizes=[8, 4], activation=[activation, "silu"], max_iter=50)
        assert_type(classifier.fit(X, y[:, 0] > 0), MLPFromScratchClassifier)
        assert_type(classifier.partial_fit(X, y[:, 0] > 0), MLPFromScratchClassifier)
        assert_type(classifier.predict(X), Array)
        print(classifier.predict_proba(X)[:, 1].mean(), classifier.classes_[0], classifier.loss_curve_[-1] < 1)

    if not X.size:  # wrong
        regressor.fit(X, y, eval_set=[(X, y)])  # type: ignore[arg-type]
        MLPFromScratchRegressor(max_iter="many")  # type: ignore[arg-type]
        MLPFromScratchClassifier(solver=3)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
