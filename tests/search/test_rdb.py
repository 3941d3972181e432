from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import RDBStorage

from hwnas.search.rdb import ProposalStorage

SPACE: dict[str, BaseDistribution] = {
    "width": CategoricalDistribution((8, 16, 32)),
    "kind": CategoricalDistribution(("a", "b")),
}


def proposed(database: RDBStorage) -> list[tuple[Any, Any]]:
    storage = optuna.storages.get_storage(database)
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=3))
    study.enqueue_trial({"width": 32, "kind": "b"})
    for number in range(4):
        trial = study.ask(SPACE)
        if isinstance(database, ProposalStorage):
            assert study.get_trials()[-1].params == {}
            database.write_proposal()
        study.tell(trial, float(number))
    url = database.url
    again = optuna.load_study(study_name=study.study_name, storage=url)
    return [(trial.params, trial.distributions) for trial in again.trials]


def test_the_database_is_as_optuna_would_have_left_it(tmp_path: Path) -> None:
    found = proposed(ProposalStorage(f"sqlite:///{tmp_path / 'together.db'}"))
    assert found == proposed(RDBStorage(f"sqlite:///{tmp_path / 'singly.db'}"))
    assert found[0][0] == {"width": 32, "kind": "b"}
