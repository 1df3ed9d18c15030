"""Networks as scikit-learn's estimators: skorch's training, callbacks, searches, pipelines and files."""

import io
import pickle
import tempfile

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, Freezer, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from skorch.helper import SliceDataset, predefined_split
from torch import nn

X = np.random.default_rng(0).normal(size=(80, 6)).astype("float32")
labels = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype("int64")


class Net(nn.Module):
    def __init__(self, units=8, dropout=0.1, out=2, last=None):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, out))
        self.last = last or nn.Softmax(dim=-1)

    def forward(self, X):
        return self.last(self.body(X))


def said(net):
    keys = "train_loss", "valid_loss", "valid_acc", "event_lr", "train_acc"
    for row in net.history:
        print(" ".join(f"{k}={row[k]:.4g}" for k in keys if k in row))


def make(kind=NeuralNetClassifier, **settings):
    torch.manual_seed(0)
    return kind(Net, **{"max_epochs": 4, "lr": 0.1, "verbose": 0, "batch_size": 16, **settings})


with tempfile.TemporaryDirectory() as folder:
    net = make(optimizer=torch.optim.Adam, optimizer__weight_decay=1e-3, module__units=12, iterator_train__shuffle=True)
    net.set_params(callbacks=[
        LRScheduler("StepLR", step_size=2, gamma=0.5), EarlyStopping(patience=3), Checkpoint(dirname=folder),
        GradientNormClipping(0.5), Freezer("*0.bias"),
        EpochScoring("accuracy", on_train=True, name="train_acc", lower_is_better=False)])
    net.fit(X, labels)
    said(net)
    twin = make(module__units=12).initialize()
    twin.load_params(checkpoint=Checkpoint(dirname=folder))
    print(np.round(twin.predict_proba(X[:3]), 5).tolist(), net.predict(X).tolist() == twin.predict(X).tolist())
    file = io.BytesIO()
    net.save_params(f_params=file, f_optimizer=folder + "/o", f_history=folder + "/h")
    file.seek(0)
    twin.load_params(f_params=file)
    net.partial_fit(X, labels)
    said(net)
again = pickle.loads(pickle.dumps(net))
print(np.allclose(again.predict_proba(X), net.predict_proba(X)), clone(net).get_params()["module__units"], net.score(X, labels))
binary = make(NeuralNetBinaryClassifier, module__out=1, module__last=nn.Identity(), criterion=nn.BCEWithLogitsLoss)
binary.fit(X, labels.astype("float32"))
said(binary)
print(binary.predict(X)[:10].tolist(), np.round(binary.predict_proba(X[:3]), 5).tolist())
line = make(NeuralNetRegressor, module__out=1, module__last=nn.Identity(), train_split=ValidSplit(4), optimizer__momentum=0.9)
line.fit(X, X[:, :1] * 2)
said(line)
print(f"{line.score(X, X[:, :1] * 2):.5f}", np.round(line.predict(X[:3]).ravel().astype(float), 3).tolist())
grid = GridSearchCV(make(train_split=False, max_epochs=2), {"lr": [0.02, 0.2], "module__units": [4, 8]}, cv=2,
                    scoring="accuracy", refit=False)
torch.manual_seed(1)
grid.fit(X, labels)
print(grid.best_params_, np.round(grid.cv_results_["mean_test_score"], 5).tolist())
pipe = make_pipeline(StandardScaler(), make(train_split=False))
print(cross_val_predict(pipe, X, labels, cv=3).tolist())
data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(labels))
other = make(train_split=predefined_split(data), callbacks=None).fit(data, y=None)
said(other)
print(other, SliceDataset(data)[:2].shape)
print([tuple(p.shape) for p in other.forward_iter(X[:20])])
for bad in (lambda: make(optimizer__nothing=3).initialize(), lambda: make(nothing=1), lambda: make().predict(X),
            lambda: make().fit(X.astype("float64"), labels), lambda: make().fit(X, labels[:9])):
    try:
        bad()
    except Exception as e:
        print(type(e).__name__, str(e)[:200])
