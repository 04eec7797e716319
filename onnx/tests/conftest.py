"""Paths of what lies outside the repository; tests that need it are skipped where it is absent."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ONNX = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ONNX))
SHARED = Path(os.environ.get("SLMD_SHARED", ONNX / "../../shared")).resolve()
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "slmd"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED}/data is absent (set SLMD_SHARED)")
    return SHARED / "data"


@pytest.fixture(scope="session")
def stories(shared_data) -> Path:
    return shared_data / "models" / "stories260k"


@pytest.fixture(scope="session")
def test_models() -> Path:
    return CACHE / "test-models"


@pytest.fixture(scope="session")
def reference():
    """The module onnx/reference/llama2c.py."""
    spec = importlib.util.spec_from_file_location("reference_llama2c", ONNX / "reference" / "llama2c.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny Llama that memorised a few short conversations, as a Hugging Face folder."""
    from slmd_model import random_weights

    out = tmp_path_factory.mktemp("tiny")
    random_weights.make("tiny", out, seed=0, tokenizer=None, memorise=60, report=lambda text: None)
    return out
