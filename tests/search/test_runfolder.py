from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import ConfigError, RunFolderError, SchemaError
from hwnas.search.config import SearchConfig
from hwnas.search.runfolder import RunFolder


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(devices=("jetson-nano",), space="mobilenet", n_trials=20, out=tmp_path / "run")


def opened(config: SearchConfig) -> RunFolder:
    return RunFolder.open(config, label="nano")


def test_a_new_folder_holds_the_settings_and_the_versions(config: SearchConfig) -> None:
    folder = opened(config)
    raw = json.loads((folder.path / "config.json").read_text())
    assert raw["schema"] == 1
    assert SearchConfig.from_mapping(raw["settings"]) == config
    assert set(raw["versions"]) == {"hwnas", "torch", "optuna", "onnxruntime", "numpy"}
    assert not folder.is_finished
    assert folder.journal.parent == folder.path


def test_a_folder_that_exists_is_not_touched(config: SearchConfig) -> None:
    folder = opened(config)
    before = (folder.path / "config.json").read_bytes()
    with pytest.raises(RunFolderError, match="exists already; go on with --resume"):
        opened(replace(config, seed=7))
    assert (folder.path / "config.json").read_bytes() == before


@pytest.mark.parametrize("left", [(), (".lock", ".config.json.x1.part")])
def test_a_folder_that_was_killed_before_it_had_settings_is_taken(config: SearchConfig, left: tuple[str, ...]) -> None:
    assert config.out is not None
    config.out.mkdir()
    for name in left:
        (config.out / name).touch()
    folder = opened(config)
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "config.json"]


def test_a_folder_with_files_of_others_is_not_taken(config: SearchConfig) -> None:
    assert config.out is not None
    config.out.mkdir()
    (config.out / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="exists already"):
        opened(config)
    assert [path.name for path in config.out.iterdir()] == ["thesis.tex"]


def test_what_a_killed_search_half_wrote_is_removed(config: SearchConfig) -> None:
    folder = opened(config)
    model = folder.path / "models" / "abc"
    model.mkdir(parents=True)
    (model / ".manifest.json.q.part").touch()
    (model / "manifest.json").touch()
    with folder.locked():
        assert [path.name for path in model.iterdir()] == ["manifest.json"]


def test_new_folders_get_free_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: SearchConfig) -> None:
    monkeypatch.chdir(tmp_path)
    nameless = replace(config, out=None)
    assert [opened(nameless).path for _ in range(3)] == [Path("runs/nano"), Path("runs/nano-2"), Path("runs/nano-3")]


def test_resuming_without_a_name_takes_the_last_unfinished_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: SearchConfig
) -> None:
    monkeypatch.chdir(tmp_path)
    nameless = replace(config, out=None)
    with pytest.raises(RunFolderError, match=r"no run named nano\* in runs/"):
        opened(replace(nameless, resume=True))
    for number, folder in enumerate([opened(nameless) for _ in range(3)]):
        os.utime(folder.path / "config.json", (1000 + number, 1000 + number))
    assert opened(replace(nameless, resume=True)).path == Path("runs/nano-3")
    Path("runs/nano-3/front.json").write_text("{}")
    assert opened(replace(nameless, resume=True)).path == Path("runs/nano-2")


@pytest.mark.parametrize("make", [False, True])
def test_nothing_to_resume(config: SearchConfig, make: bool) -> None:
    assert config.out is not None
    if make:
        config.out.mkdir()
    with pytest.raises(RunFolderError, match="holds no search to resume"):
        opened(replace(config, resume=True))


@pytest.mark.parametrize(
    "change",
    [
        {"devices": ("cpu",)},
        {"space": "nasbench201"},
        {"task": "cifar10"},
        {"seed": 3},
        {"max_latency_ms": 2.0},
        {"max_size_mb": 1.0},
        {"max_memory_mb": 1.0},
        {"precisions": ("fp32",)},
        {"sampler": "random"},
        {"storage": "sqlite:///x.db"},
        {"allow_out_of_domain": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_are_refused(config: SearchConfig, change: dict[str, Any]) -> None:
    opened(config)
    with pytest.raises(ConfigError, match=f"began with {next(iter(change))} "):
        opened(replace(config, resume=True, **change))


def test_settings_that_are_left_out_are_those_of_the_beginning(config: SearchConfig) -> None:
    opened(replace(config, seed=5, sampler="random"))
    bare = SearchConfig(devices=("jetson-nano",), out=config.out, resume=True)
    found = opened(bare).config
    assert (found.seed, found.sampler, found.space, found.n_trials) == (5, "random", "mobilenet", 20)
    assert found.resume


def test_effort_may_be_given_anew(config: SearchConfig) -> None:
    opened(config)
    found = opened(replace(config, n_trials=99, time_s=5.0, resume=True)).config
    assert (found.n_trials, found.time_s) == (99, 5.0)


def test_the_number_of_models_may_be_given_anew(config: SearchConfig) -> None:
    opened(config)
    assert opened(replace(config, n_front=3, resume=True)).config.n_front == 3


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("{", RunFolderError, "damaged"),
        ("[]", RunFolderError, "damaged"),
        ('{"schema": 1}', RunFolderError, "damaged"),
        ('{"schema": 1, "settings": {"devices": ["cpu"], "later": 1}}', RunFolderError, "later"),
        ('{"schema": 1, "settings": 3}', RunFolderError, "damaged"),
        ('{"schema": 2, "settings": {}}', SchemaError, "schema 2, this version reads 1"),
    ],
)
def test_damaged_and_newer_settings(config: SearchConfig, content: str, error: type[Exception], said: str) -> None:
    folder = opened(config)
    (folder.path / "config.json").write_text(content)
    with pytest.raises(error, match=said):
        opened(replace(config, resume=True))


def test_what_was_found_out_must_be_found_again(config: SearchConfig) -> None:
    folder = opened(config)
    folder.check_same({"data": "abc", "predictors": {"fp32": "p-1"}})
    folder.check_same({"data": "abc", "predictors": {"fp32": "p-1"}})
    folder.check_same({"data": "abc", "more": 1})
    with pytest.raises(ConfigError, match="began with another predictors"):
        folder.check_same({"predictors": {"fp32": "p-2"}})
    raw = json.loads((folder.path / "config.json").read_text())
    assert (raw["data"], raw["more"], raw["predictors"]) == ("abc", 1, {"fp32": "p-1"})


def test_a_folder_that_cannot_be_made(tmp_path: Path, config: SearchConfig) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot make"):
        opened(replace(config, out=tmp_path / "file" / "run"))


HOLD = """
import sys, time
from pathlib import Path
from hwnas.search.config import SearchConfig
from hwnas.search.runfolder import RunFolder
with RunFolder(Path(sys.argv[1]), SearchConfig(devices=("cpu",))).locked():
    print("held", flush=True)
    time.sleep(6000)
"""


def test_another_process_holds_the_folder(config: SearchConfig) -> None:
    folder = opened(config)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another search is writing"), folder.locked():
            pass
    finally:
        holder.kill()
        holder.wait()
    # The lock goes with the process.
    for _ in range(1000):
        try:
            with folder.locked():
                break
        except RunFolderError:
            time.sleep(0.05)
    with folder.locked():
        pass
