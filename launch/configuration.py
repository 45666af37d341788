"""Compose a configuration of options and overrides, outside of Hydra's own command line."""

from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import settings
from .overrides import explain
from .resume import CONFIGS


class Configuration(NamedTuple):
    """Hold the configuration of a run, and the option of each group that it was composed of."""

    config: DictConfig
    options: dict[str, str]
    help: str  # the template of train.py's --help


def composed(overrides: list[str], check: bool = True) -> Configuration:
    """Compose and check a configuration. Raises SettingsError for what is wrong with it."""
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", overrides, return_hydra_config=True)
        options = {key: each for key, each in config.hydra.runtime.choices.items() if "/" not in key}
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        OmegaConf.set_struct(own, True)
        OmegaConf.set_readonly(own, True)
        if check:
            settings.check(plain(own))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, CONFIGS) from error
    return Configuration(own, options, config.hydra.help.template)


def plain(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=resolve)  # type: ignore[return-value]
