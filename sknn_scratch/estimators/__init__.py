"""The scikit-learn face: estimators, their parameters, and the checks of what they are given."""
