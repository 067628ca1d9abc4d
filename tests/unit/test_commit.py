"""The commit of the running code, read from a checkout's files as git itself reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mia import commit
from mia.commit import UNKNOWN, commit_of, git_commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *command: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", "-C", str(folder), *named, *command], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a").write_text("1")
    git(folder, "add", "a")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_branch_a_packed_branch_and_a_detached_head_have_their_commit(checkout: Path) -> None:
    wanted = git(checkout, "rev-parse", "HEAD")

    loose = commit_of(checkout)
    git(checkout, "pack-refs", "--all")
    packed = commit_of(checkout)
    git(checkout, "checkout", "-q", "--detach")

    assert {loose, packed, commit_of(checkout)} == {wanted}


def test_a_work_tree_has_its_own_commit(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")

    found = commit_of(tmp_path / "tree")

    assert found == git(tmp_path / "tree", "rev-parse", "HEAD")
    assert found != commit_of(checkout)


def test_a_folder_below_somebody_elses_repository_has_none(checkout: Path) -> None:
    (checkout / "lib").mkdir()

    assert commit_of(checkout / "lib") == UNKNOWN


def test_what_the_wheel_was_built_from_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_shipped").mkdir()
    (tmp_path / "_shipped" / "commit").write_text("a" * 40 + "\n")
    monkeypatch.setattr(commit, "_HERE", tmp_path)
    git_commit.cache_clear()

    found = git_commit()
    git_commit.cache_clear()

    assert found == "a" * 40
