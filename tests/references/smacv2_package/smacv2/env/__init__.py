"""The wrapper that draws a team and start positions for each episode."""

from __future__ import annotations

from typing import Any

from smacv2.env.starcraft2.starcraft2 import StarCraft2Env


class StarCraftCapabilityEnvWrapper:
    """Whatever the wrapper lacks, its environment has."""

    def __init__(self, capability_config: dict[str, Any], **options: Any) -> None:
        assert set(capability_config) == {"n_units", "n_enemies", "team_gen", "start_positions"}
        assert capability_config["team_gen"]["dist_type"] == "weighted_teams"
        self.env = StarCraft2Env(capability_config=capability_config, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)
