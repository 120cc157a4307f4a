"""Configuration: config.yaml in, frozen values out, or one message for each mistake (docs/config.md)."""

from manager.config.errors import ConfigError, Problem
from manager.config.load import load_config, load_traders
from manager.config.values import AccountConfig, Config, MarketSettings, MarketType, TenantConfig

__all__ = [
    "AccountConfig",
    "Config",
    "ConfigError",
    "MarketSettings",
    "MarketType",
    "Problem",
    "TenantConfig",
    "load_config",
    "load_traders",
]
