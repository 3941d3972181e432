"""Optuna's database storage, where the parameters of a proposal are written together."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session

__all__ = ["ProposalStorage"]


class ProposalStorage(RDBStorage):
    """Keeps the parameters of new trials until `write_proposal`.

    Optuna commits each parameter, after three queries. A space has dozens of them, and while one process proposes the
    others wait.

    Args:
        url: as SQLAlchemy reads it.
        connect_args: of the driver.
    """

    def __init__(self, url: str, connect_args: dict[str, int] | None = None) -> None:
        super().__init__(url, engine_kwargs={"connect_args": dict(connect_args or {})})
        self._kept: list[models.TrialParamModel] = []

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        self._kept.append(
            models.TrialParamModel(
                trial_id=trial_id,
                param_name=param_name,
                param_value=param_value_internal,
                distribution_json=distribution_to_json(distribution),
            )
        )

    def write_proposal(self) -> None:
        """Write what was kept; if that fails it is forgotten, and the trial is one without parameters."""
        kept, self._kept = self._kept, []
        with _create_scoped_session(self.scoped_session) as session:
            session.add_all(kept)
