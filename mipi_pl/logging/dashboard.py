"""Weights & Biases workspace for the runs of this project, built with wandb-workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

SETTING = "run.setting"
"""Config key by which runs are grouped: everything but the seed, so that curves are means over seeds."""
EXPERIMENT = "run.experiment"
"""Config key by which runs are selected."""


@dataclass(frozen=True)
class Dashboard:
    """Content of the workspace.

    Attributes:
        entity: user or team in W&B.
        project: project that contains the runs.
        name: name of the workspace.
        held_out: names of the held-out evaluations, such as team sizes.
        measure: ``win_rate``, or ``return`` for environments without a win condition.
        group: show only the runs of this experiment; None shows all.
    """

    entity: str
    project: str
    name: str
    held_out: Sequence[str]
    measure: str = "win_rate"
    group: str | None = None

    def workspace(self) -> ws.Workspace:
        """Return the workspace as an object that can be saved; nothing is sent."""
        only = [ws.Config(EXPERIMENT) == self.group] if self.group else []
        return ws.Workspace(
            entity=self.entity,
            project=self.project,
            name=self.name,
            sections=[self._by_team(), self._at_the_end(), *_what_is_learned()],
            settings=ws.WorkspaceSettings(x_axis="frames", max_runs=100),
            runset_settings=ws.RunsetSettings(filters=only, groupby=[ws.Config(SETTING)]),
        )

    def definition(self) -> dict[str, Any]:
        """Return the workspace as plain data, in the form that is sent to W&B."""
        spec: dict[str, Any] = self.workspace()._spec
        return spec

    def _by_team(self) -> ws.Section:
        named = {"training": "as trained", **{name: f"{name}, never seen" for name in self.held_out}}
        curves = [_curves(f"Teams {title}", f"eval/{self.measure}_{name}") for name, title in named.items()]
        mean = _curves("Mean of the held-out teams", "held_out/score")
        sizes = wr.LinePlot(title="By team size", x="frames", metric_regex=f"by_size/{self.measure}_.*")
        return _section("While learning, by team", [mean, *curves, sizes])

    def _at_the_end(self) -> ws.Section:
        bars = [
            wr.BarPlot(
                title=f"{name}: policy of the last update",
                metrics=[f"final/{self.measure}_{name}"],
                groupby=wr.Config(SETTING),
                groupby_aggfunc="mean",
                groupby_rangefunc="stderr",
            )
            for name in ("training", *self.held_out)
        ]
        videos = wr.MediaBrowser(media_keys=[f"video/{name}" for name in ("training", *self.held_out)])
        pictures = wr.MediaBrowser(media_keys=["results"])
        return _section("At the end, settings compared", [*bars, videos, pictures])


def _what_is_learned() -> list[ws.Section]:
    losses = ("td", "imagined", "policy", "marginal", "value", "mara")
    policy = {
        "KL to the marginal (nats)": "train/policy/kl_to_marginal",
        "Entropy of the policy (nats)": "train/policy/entropy",
        "Epsilon": "collect/epsilon",
        "Mixer weight": "train/mixer/weight",
        "TD error": "train/td_error",
        "Joint value": "train/value/joint",
    }
    norms = ("critic", "policy", "marginal")
    speeds = {"Frames/s": "speed/frames_per_s", "Updates/s": "speed/updates_per_s"}
    return [
        _section("Policy and value", [_curves(title, key) for title, key in policy.items()]),
        _section("Losses", [_curves(f"Loss: {name}", f"train/loss/{name}") for name in losses], is_open=False),
        _section(
            "Gradients", [_curves(f"Norm: {name}", f"train/gradient_norm/{name}") for name in norms], is_open=False
        ),
        _section("Speed", [_curves(title, key) for title, key in speeds.items()], is_open=False),
    ]


def _section(name: str, panels: list[Any], is_open: bool = True) -> ws.Section:
    for place, panel in enumerate(panels):  # three per row
        panel.layout = wr.Layout(x=8 * (place % 3), y=6 * (place // 3), w=8, h=6)
    return ws.Section(name=name, panels=panels, is_open=is_open)


def _curves(title: str, metric: str) -> wr.LinePlot:
    """Return a plot with a line per setting: the mean over its seeds with the standard error."""
    return wr.LinePlot(
        title=title,
        x="frames",
        y=[metric],
        groupby=wr.Config(SETTING),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
    )
