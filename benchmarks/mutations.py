"""Do the tests notice a wrong learner? Each mutation of the learning step's sources is tested in a copy.

    python benchmarks/mutations.py                 # docs/mutations.md: which test caught which mutation
    python benchmarks/mutations.py --only gamma    # those with this word, without writing

A mutation is a piece of source text and what takes its place. It is looked for in all of `SOURCES`, whatever file it
has moved to, and must be there exactly once. Exit code 1 if one survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mutations.md"
SOURCES = ("mipi_pl/algorithms/*.py", "mipi_pl/losses/*.py", "models/mixers.py")
ELSEWHERE = {"mappo.py", "ppo.py"}
"""Learners from the present policy's own episodes: they have tests of their own."""
TWINS = [
    "tests/losses",
    "tests/models/test_mixers.py",
    "tests/algorithms/test_mipi_update.py",
    "tests/algorithms/test_mipi_properties.py",
    "tests/algorithms/test_mipi_optimizers.py",
    "tests/algorithms/test_learner_against_exact.py",
]
EXACT = ["tests/algorithms/test_learner_against_exact.py::test_mipi_learns_the_exact_solution[mutual_information]"]


@dataclass(frozen=True)
class Mutation:
    """What is broken, the text, and what takes its place; `exact` if the exact solution alone must notice, too."""

    what: str
    text: str
    instead: str
    exact: bool = False


MUTATIONS = [
    Mutation(
        "information is paid, not charged",
        "cost = self.alpha * self._penalty(",
        "cost = -self.alpha * self._penalty(",
        exact=True,
    ),
    Mutation(
        "the target has no gamma", "reward + gamma * goes_on * next_value", "reward + goes_on * next_value", exact=True
    ),
    Mutation("a value follows the end", "gamma * goes_on * next_value", "gamma * next_value", exact=True),
    Mutation("the target's value is that of the same step", "after = b.played + 1", "after = b.played"),
    Mutation("no alpha in the target", "cost = self.alpha * self._penalty(", "cost = self._penalty("),
    Mutation("the penalty upside down", "return log_pi - log_marginal", "return log_marginal - log_pi", exact=True),
    Mutation(
        "unavailable actions have a share", "logits.masked_fill(~available, _UNAVAILABLE)", "logits.clone()", exact=True
    ),
    Mutation(
        "the policy flees its utilities",
        "alpha * cost - utilities.detach()",
        "alpha * cost + utilities.detach()",
        exact=True,
    ),
    Mutation(
        "the marginal flees the policies",
        "return -masked_mean(expectation(log_within, log_marginal)",
        "return masked_mean(expectation(log_within, log_marginal)",
    ),
    Mutation(
        "the marginal's loss with its arguments swapped",
        "expectation(log_within, log_marginal)",
        "expectation(log_marginal, log_within)",
    ),
    Mutation(
        "agents that do not act have a weight in the mixer",
        "agents = AgentRows.of(acting)",
        "agents = AgentRows.of(torch.ones_like(acting))",
    ),
    Mutation(
        "targets from the trained networks",
        "self.target_agent.utilities(",
        "self.agent.utilities(",
    ),
    Mutation("the mean adds up what is masked", "torch.where(mask, values, 0.0).sum()", "values.sum()"),
    Mutation(
        "the policy learns where nothing was played",
        "info.policy_loss(log_pi, cost, utilities, temperature, b.deciding)",
        "info.policy_loss(log_pi, cost, utilities, temperature, b.acting)",
    ),
    Mutation(
        "the marginal learns where nothing was played",
        "info.marginal_loss(log_marginal, log_team, b.deciding)",
        "info.marginal_loss(log_marginal, log_team, b.acting)",
    ),
    Mutation(
        "alpha instead of alpha_i",
        "            return self.alpha_i",
        "            return self.alpha",
    ),
    Mutation(
        "TD(lambda) forgets the information",
        "targets[t + 1] - next_cost[t] - next_value[t]",
        "targets[t + 1] - next_value[t]",
    ),
    Mutation("TD(lambda) runs past the last step", "surplus = played[t + 1] * (", "surplus = ("),
    Mutation(
        "only the time limit ends an episode",
        "ended = ended | truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
        "ended = truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
    ),
    Mutation(
        "a fault ends an episode as the time limit does",
        " & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
        "",
    ),
    Mutation(
        "the last action is this one",
        "before = torch.cat((earlier.unsqueeze(1), action[:, :-1]), dim=1)",
        "before = action",
    ),
    Mutation(
        "the imaginary objective is added, not mixed in",
        "torch.lerp(loss_td, loss_imagined, self.imaginary_weight)",
        "loss_td + loss_imagined",
    ),
    Mutation("within is the other group", "return mask & self._same(k)", "return mask & ~self._same(k)"),
    Mutation(
        "the interact utilities under the within weights", "weights, [WITHIN, INTERACT])", "weights, [WITHIN, WITHIN])"
    ),
    Mutation("every alternation has the first imaginary team", "b.within(b.visible, 1 + m)", "b.within(b.visible, 1)"),
    Mutation("mixer weights may be negative", "final.softmax(dim=-1)", "final"),
    Mutation("the mixer has no bias", "weights.first[:, views]) + weights.bias", "weights.first[:, views])"),
    Mutation(
        "everybody of the team is in its own group",
        "groups[..., :n_agents, None] == groups[..., None, :]",
        "groups[..., :n_agents, None] >= groups[..., None, :]",
    ),
]


def place_of(root: Path, mutation: Mutation) -> Path:
    """The one file below `root` that has the text.

    Raises:
        LookupError: unless the text is there exactly once.
    """
    files = [path for pattern in SOURCES for path in sorted(root.glob(pattern)) if path.name not in ELSEWHERE]
    found = [path for path in files for _ in range(path.read_text(encoding="utf-8").count(mutation.text))]
    if len(found) != 1:
        where = ", ".join(path.name for path in found) or "nowhere"
        raise LookupError(f"{mutation.what!r}: expected {mutation.text!r} once in {SOURCES}; it is in: {where}")
    return found[0]


def mutate(root: Path, mutation: Mutation) -> Path:
    """Apply it below `root` and return the changed file, relative to `root`."""
    path = place_of(root, mutation)
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.text, mutation.instead), encoding="utf-8")
    return path.relative_to(root)


class Witness:
    """A pytest plugin that notes the first failure."""

    failed = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        """Called by pytest for every phase of a test."""
        if getattr(report, "failed", False) and not self.failed:
            self.failed = str(report.nodeid)  # type: ignore[attr-defined]

    def pytest_collectreport(self, report: object) -> None:
        """Called by pytest for every file."""
        self.pytest_runtest_logreport(report)


def first_failure(copy: Path, tests: list[str]) -> str:
    """Node of the first test that fails in the copy, or nothing; in a child that has not imported any of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        import hypothesis
        import pytest

        # A failure is enough: no smaller one is looked for.
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("first", phases=phases, deadline=None)
        hypothesis.settings.load_profile("first")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(copy)
        sys.path[:] = [str(copy), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
        witness = Witness()
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], plugins=[witness])
        os.write(writing, (witness.failed or ("" if code == 0 else f"pytest ended with {code}")).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        failed = answer.read().decode()
    _, status = os.waitpid(child, 0)
    if status:
        raise ChildProcessError(f"the tests ended with status {status}")
    return failed


def outcome(copy: Path, mutation: Mutation) -> tuple[str, str]:
    """What notices the mutation: among all tests of the learner, and (if asked for) with the exact solution alone."""
    path = copy / mutate(copy, mutation)
    try:
        return first_failure(copy, TWINS), first_failure(copy, EXACT) if mutation.exact else "-"
    finally:
        shutil.copy2(ROOT / path.relative_to(copy), path)


def row(mutation: Mutation, caught: str, exact: str) -> str:
    """A line of the table."""
    by = f"`{short(caught)}`" if caught else "**survives**"
    alone = {"-": "", "": "**survives**"}.get(exact, f"`{short(exact)}`")
    text = mutation.text.replace("|", "\\|")  # or it would end the cell
    return f"| {mutation.what} | `{text}` | {by} | {alone} |"


def short(node: str) -> str:
    """A test's file and name without folder and, for long ones, without its parameters."""
    name = node.rsplit("/", 1)[-1].removesuffix(".py")
    return name if len(name) < 90 else name.split("[")[0]


def main() -> None:
    """Test all, or those with a word."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a word of the mutations to test; nothing is written then")
    parser.add_argument("--check", action="store_true", help="only look whether every text is there")
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.what]
    if arguments.check:
        for mutation in chosen:
            place_of(ROOT, mutation)
        return
    import hydra  # noqa: F401  # what takes long to import is imported once, before the forks
    import lightning  # noqa: F401
    import torchrl.envs  # noqa: F401

    rows, survivors, witnesses, start_s = [], 0, set(), time.monotonic()
    # Sources change within a second and keep their size: neither they nor the kernels may be found compiled by mistake.
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = str(Path(folder) / "kernels")
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "outputs", "__pycache__", "docs"))
        for mutation in chosen:
            caught, exact = outcome(copy, mutation)
            survivors += (not caught) + (not exact)
            witnesses |= {caught, exact} - {"", "-"}
            rows.append(row(mutation, caught, exact))
            print(f"{time.monotonic() - start_s:5.0f} s  {rows[-1]}", flush=True)
        if failed := first_failure(copy, sorted(witnesses)):
            raise SystemExit(f"{failed} fails without any mutation as well")
    if not arguments.only:
        head = PAGE.read_text(encoding="utf-8").split("| mutation |")[0]
        lines = ["| mutation | text | first test that fails | exact solution alone |", "|---|---|---|---|", *rows]
        PAGE.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
