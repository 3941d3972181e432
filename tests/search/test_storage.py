from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.errors import ConfigError
from hwnas.search.config import SearchConfig
from hwnas.search.runfolder import RunFolder
from hwnas.search.storage import for_optuna, hidden, is_postgresql, unusable, without_password


@pytest.mark.parametrize(
    ("url", "shown", "kept"),
    [
        ("postgresql://u:pw@h:5432/db", "postgresql://u:***@h:5432/db", "postgresql://u@h:5432/db"),
        ("postgres://u:a%40b@h/db?x=1", "postgres://u:***@h/db?x=1", "postgres://u@h/db?x=1"),
        ("postgresql+psycopg://u:p:w@a:1,b:2/db", "postgresql+psycopg://u:***@a:1,b:2/db", None),
        ("postgresql:///db?host=/tmp&password=pw", "postgresql:///db?host=/tmp&password=***", None),
        ("mysql://u:pw@h/db", "mysql://u:***@h/db", "mysql://u@h/db"),
        *[(url, url, url) for url in ("postgresql://u@h/db", "sqlite:///x.db", "sqlite:////no/such/x.db", "odd://x")],
    ],
)
def test_a_password_is_neither_shown_nor_kept(url: str, shown: str, kept: str | None) -> None:
    assert hidden(url) == shown
    assert "pw" not in without_password(url)
    assert kept is None or without_password(url) == kept
    assert shown in str(unusable(url, ValueError("no\nanswer")))


@pytest.mark.parametrize(
    ("url", "for_sqlalchemy", "shared"),
    [
        ("postgresql://u@h/db", "postgresql+psycopg://u@h/db", True),
        ("postgres://u@h/db", "postgresql+psycopg://u@h/db", True),
        ("postgresql+psycopg://u@h/db", "postgresql+psycopg://u@h/db", True),
        ("sqlite:///x.db", "sqlite:///x.db", False),
        ("postgresql+psycopg2://u@h/db", "postgresql+psycopg2://u@h/db", False),
    ],
)
def test_postgresql_is_reached_by_psycopg(url: str, for_sqlalchemy: str, shared: bool) -> None:
    assert for_optuna(url) == for_sqlalchemy
    assert is_postgresql(url) == shared


def test_a_resumed_run_is_given_its_password_again(tmp_path: Path) -> None:
    url = "postgresql://u:pw@h/db"
    config = SearchConfig(devices=("cpu",), out=tmp_path / "run", storage=url)
    folder = RunFolder.open(config, label="x")
    assert folder.config.storage == url
    assert "pw" not in (folder.path / "config.json").read_text()
    assert RunFolder.at(folder.path).config.storage == "postgresql://u@h/db"
    again = replace(config, resume=True)
    assert RunFolder.open(again, label="x").config.storage == url
    assert RunFolder.open(replace(again, storage=None), label="x").config.storage == "postgresql://u@h/db"
    with pytest.raises(ConfigError, match="began with storage") as caught:
        RunFolder.open(replace(again, storage="postgresql://u:pw@other/db"), label="x")
    assert "pw" not in str(caught.value)
