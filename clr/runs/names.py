"""The name of a run's record, made of what was trained and on which data.

The name ends in a hash of the config and the data's fingerprint; no path, device or number of
threads is in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING

from clr.training import RunConfig
from clr.training.config import DEFAULTS


def describe(config: RunConfig) -> dict:
    """The config as it is hashed and recorded: an image folder without its path."""
    return config.to_dict() | {"dataset": config.source.kind}


def content(values: dict) -> dict:
    """What `describe` gives, without the fields that have their default.

    A new field of `RunConfig` therefore changes no name.
    """
    return {k: v for k, v in values.items() if v != DEFAULTS.get(k, MISSING)}


def run_name(config: RunConfig, fingerprint: str) -> str:
    """The record's file name, without suffix."""
    values = describe(config)
    hashed = [content(values), fingerprint]
    canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    parts = [values["dataset"], config.model, config.policy.name, f"seed{config.seed}"]
    return "-".join([*parts, digest])
