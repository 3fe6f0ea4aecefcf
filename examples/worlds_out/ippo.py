"""Independent PPO of TorchRL on a world of this project: networks, collection and loss are TorchRL's.

python examples/worlds_out/ippo.py sz 5
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import EnvBase
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss, ValueEstimators

from mipi_pl.torchrl import group_env

LOSSES = ("loss_objective", "loss_critic", "loss_entropy")
OBSERVATION, MASK, VALUE = ("agents", "observation"), ("agents", "action_mask"), ("agents", "state_value")


def networks(env: EnvBase, width: int) -> tuple[ProbabilisticActor, ValueOperator]:
    """Return a policy and a critic that all agents share and that see what one agent observes."""
    n_agents, n_observed = env.observation_spec[OBSERVATION].shape[-2:]

    def perceptron(outputs: int) -> MultiAgentMLP:
        sizes = {"n_agent_inputs": n_observed, "n_agent_outputs": outputs, "n_agents": n_agents}
        return MultiAgentMLP(**sizes, centralized=False, share_params=True, depth=2, num_cells=width)

    logits = perceptron(env.observation_spec[MASK].shape[-1])
    policy = ProbabilisticActor(
        TensorDictModule(logits, in_keys=[OBSERVATION], out_keys=[("agents", "logits")]),
        in_keys={"logits": ("agents", "logits"), "mask": MASK},
        out_keys=[("agents", "action")],
        distribution_class=MaskedCategorical,
        return_log_prob=True,
        log_prob_key=("agents", "action_log_prob"),
    )
    return policy, ValueOperator(perceptron(1), in_keys=[OBSERVATION], out_keys=[VALUE])


def ppo_loss(policy: ProbabilisticActor, critic: ValueOperator) -> ClipPPOLoss:
    """Return the loss, with the keys of the group."""
    loss = ClipPPOLoss(
        policy, critic, entropy_coeff=0.01, normalize_advantage=True, normalize_advantage_exclude_dims=(-2,)
    )
    own = {name: ("agents", name) for name in ("reward", "action", "done", "terminated")}
    loss.set_keys(value=VALUE, sample_log_prob=("agents", "action_log_prob"), **own)
    loss.make_value_estimator(ValueEstimators.GAE, gamma=0.99, lmbda=0.95)
    return loss


def train(
    env: EnvBase, iterations: int, steps: int = 64, epochs: int = 4, width: int = 128, lr: float = 5e-4
) -> Iterator[dict[str, float]]:
    """Train for some iterations of `steps` steps of each environment; yield the mean reward and the losses of each."""
    policy, critic = networks(env, width)
    loss = ppo_loss(policy, critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=lr)
    frames = steps * env.batch_size.numel()
    for batch in Collector(env, policy, frames_per_batch=frames, total_frames=iterations * frames):
        for name in ("done", "terminated"):  # the loss expects them for each agent
            shared = batch["next", name].unsqueeze(-2)
            batch["next", "agents", name] = shared.expand_as(batch["next", "agents", "reward"])
        with torch.no_grad():
            loss.value_estimator(
                batch, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        for _ in range(epochs):
            losses = loss(batch.reshape(-1))
            optimizer.zero_grad()
            sum(losses[name] for name in LOSSES).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
            optimizer.step()
        reward = float(batch["next", "agents", "reward"].mean())
        yield {"reward": reward, **{name: float(losses[name].detach()) for name in LOSSES}}


if __name__ == "__main__":
    world, size = sys.argv[1], int(sys.argv[2])
    for k, numbers in enumerate(train(group_env(world, num_envs=64, team_size=size), iterations=500)):
        print(k, numbers)
