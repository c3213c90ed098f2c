"""On small data: PyG's model is the same after wrapping, forgets, and is compared with retrains by its own loop."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import tru_pyg_lightgcn
from torch_geometric.nn.models import LightGCN
from tru_pyg_lightgcn import LAYERS, WIDTH, train, wrapped

import tru
from tru.data.params import SyntheticParams
from tru.data.synthetic import generate


def ratings() -> pd.DataFrame:
    rows = generate(SyntheticParams(users=200, items=100)).interactions
    numbers = {user: f"u{k}" for k, user in enumerate(sorted(set(rows["user_id"])))}
    return rows.assign(user_id=rows["user_id"].map(numbers))


@pytest.fixture(scope="module")
def data():
    return tru.load(ratings())


@pytest.fixture(scope="module")
def model(data):
    return wrapped(data, seed=0)


def test_its_vectors_are_those_of_pygs_own_model(model):
    pairs = model.trained.data
    gcn = LightGCN(len(pairs.users) + len(pairs.items), WIDTH, LAYERS)
    rows = torch.cat([torch.from_numpy(model.trained.arrays[side]) for side in ("users", "items")])
    gcn.embedding.weight.data = rows
    user, item = torch.from_numpy(pairs.edges[:, 0]), torch.from_numpy(pairs.edges[:, 1]) + len(pairs.users)
    own = gcn.get_embedding(torch.cat([torch.stack([user, item]), torch.stack([item, user])], dim=1))
    found = model.trained.embed()
    torch.testing.assert_close(torch.cat([found.users, found.items]), own, rtol=1e-4, atol=1e-6)


def test_it_forgets_and_behaves_like_a_retrain_by_the_same_loop(data, model):
    users = [f"u{k}" for k in range(40, 80)]
    forgot = tru.forget(model, users=users)
    found = tru.compare(model, forgot, tru.retrain(model, forgot.data, seeds=2, trainer=train))
    rows = found.rows()
    assert rows["original"]["test/ndcg@20"] > 0.2, "it has learned something"
    assert found.verdict().passed, str(found)
    gap = {name: abs(row["membership_auc"] - rows["retrained"]["membership_auc"]) for name, row in rows.items()}
    assert gap["unlearned"] < 0.5 * gap["original"]


def test_a_saved_one_is_built_again_by_its_path(model, tmp_path):
    assert model.backbone == "tru_pyg_lightgcn:build"
    model.save(tmp_path / "model")
    assert tru.open_model(tmp_path / "model").evaluate() == model.evaluate()


def test_the_program_of_the_readme_runs_as_written(tmp_path, monkeypatch, capsys):
    ratings()[["user_id", "item_id"]].to_parquet(tmp_path / "ratings.parquet")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(
        r"```python\n(.*?)```", (Path(tru_pyg_lightgcn.__file__).parent / "README.md").read_text(), re.S
    )
    exec(compile(program, "README.md", "exec"), {})
    assert "The gate: pass, compared with 2 retrained models." in capsys.readouterr().out
