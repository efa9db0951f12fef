"""Shapes are types: every annotated signature of the package is checked while tests run."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is remembered of files (the sha256 of weights) is of this session, and of its jobs.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="routing-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

from jaxtyping import install_import_hook  # noqa: E402

HOOK = install_import_hook("routing", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
