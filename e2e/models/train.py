"""Trains the iris models that the end-to-end tests serve, and writes one folder a version.

    python train.py OUT      # OUT/iris/<version>/{model-settings.json, model.joblib[, runtime.py]}

Each folder is what `mlserver start` expects: the model, its settings and, for the versions that
misbehave, the runtime that makes them do so (runtime.py). Every model is a real one, fitted here on
scikit-learn's iris data with fixed seeds; what goes wrong in 3.x goes wrong in the serving of it.
"""

import json
import pathlib
import shutil
import sys

import joblib
import numpy
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

SKLEARN = "mlserver_sklearn.SKLearnModel"

# version -> (model, runtime, the runtime's own settings)
VERSIONS = {
    "1.0.0": ("sepals", SKLEARN, {}),
    "2.0.0": ("all-features", SKLEARN, {}),
    "3.0.0-errors": ("all-features", "runtime.Flaky", {"share": 0.2, "seed": 3}),
    "3.1.0-slow": ("all-features", "runtime.Slow", {"delaySeconds": 0.4}),
    "3.2.0-crash": ("all-features", "runtime.Crash", {"requests": 40}),
    "3.3.0-never": ("all-features", "runtime.Never", {}),
    "4.0.0": ("kernel", SKLEARN, {}),
}


def fit():
    """The fitted models by name, with their accuracy on flowers that none of them has seen."""
    flowers, species = load_iris(return_X_y=True)
    train, test, train_species, test_species = train_test_split(
        flowers, species, test_size=0.4, random_state=7, stratify=species
    )
    # The petals are hidden from the first model: their columns are 0, so their coefficients stay 0
    # and it takes the same four numbers as the others.
    sepals = train * numpy.array([1, 1, 0, 0])
    models = {
        "sepals": LogisticRegression(max_iter=1000).fit(sepals, train_species),
        "all-features": LogisticRegression(max_iter=1000).fit(train, train_species),
        "kernel": SVC(C=10, gamma=0.1).fit(train, train_species),
    }
    return {name: (model, model.score(test, test_species)) for name, model in models.items()}


def write(folder, version, model, implementation, extra):
    """One version's folder, as `mlserver start` reads it."""
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": "iris",
        "implementation": implementation,
        "platform": "sklearn",
        "inputs": [{"name": "flowers", "datatype": "FP64", "shape": [-1, 4]}],
        "outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
        "parameters": {"uri": "./model.joblib", "version": version, "extra": extra},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    if implementation.startswith("runtime."):
        shutil.copy(pathlib.Path(__file__).with_name("runtime.py"), folder)


def main(out):
    models = fit()
    if not models["sepals"][1] < min(models["all-features"][1], models["kernel"][1]):
        sys.exit("1.0.0 is meant to be the weaker model, and is not")
    for version, (name, implementation, extra) in VERSIONS.items():
        model, accuracy = models[name]
        write(out / "iris" / version, version, model, implementation, extra)
        print(f"iris {version}: {name}, accuracy {accuracy:.3f}, {implementation}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
