"""Mutation tests of the learning step: inserts known bugs into a copy of the sources and runs the tests on it.

    python benchmarks/mutations.py                 # all mutations; writes the results to docs/mutations.md
    python benchmarks/mutations.py --only gamma    # mutations whose name contains this word; writes nothing

A mutation replaces one piece of source text. The script searches for the text in all `SOURCES`, so code may move
between them, and requires exactly one match. It exits with code 1 if the tests miss a mutation.
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
ELSEWHERE = {"mappo.py", "mipi_ppo.py", "ppo.py"}
"""Files of the on-policy learners, which have tests of their own."""
TWINS = [
    "tests/losses",
    "tests/models/test_mixers.py",
    "tests/algorithms/test_mipi_update.py",
    "tests/algorithms/test_mipi_properties.py",
    "tests/algorithms/test_learner_properties.py",
    "tests/algorithms/test_mipi_optimizers.py",
    "tests/algorithms/test_learner_against_exact.py",
]
EXACT = ["tests/algorithms/test_learner_against_exact.py::test_mipi_learns_the_exact_solution[mutual_information]"]


@dataclass(frozen=True)
class Mutation:
    """A bug to insert into the sources.

    Attributes:
        what: the bug in a few words, the row's name in the table.
        text: source text to replace.
        instead: its replacement.
        exact: whether the test against the exact solution must catch the bug on its own, too.
    """

    what: str
    text: str
    instead: str
    exact: bool = False


MUTATIONS = [
    Mutation(
        "information is rewarded instead of charged",
        "cost = self.alpha * self._penalty(",
        "cost = -self.alpha * self._penalty(",
        exact=True,
    ),
    Mutation(
        "the target lacks gamma",
        "reward + gamma * bootstraps * next_value",
        "reward + bootstraps * next_value",
        exact=True,
    ),
    Mutation(
        "the target bootstraps past the end of an episode",
        "gamma * bootstraps * next_value",
        "gamma * next_value",
        exact=True,
    ),
    Mutation("the target uses the value of the same step", "after = b.played + 1", "after = b.played"),
    Mutation("the penalty in the target lacks alpha", "cost = self.alpha * self._penalty(", "cost = self._penalty("),
    Mutation("the penalty is inverted", "return log_pi - log_marginal", "return log_marginal - log_pi", exact=True),
    Mutation(
        "unavailable actions get probability",
        "logits.masked_fill(~available, _UNAVAILABLE)",
        "logits.clone()",
        exact=True,
    ),
    Mutation(
        "the policy minimises its utilities",
        "alpha * cost - utilities.detach()",
        "alpha * cost + utilities.detach()",
        exact=True,
    ),
    Mutation(
        "the marginal's loss has the wrong sign",
        "return -masked_mean(expectation(log_within, log_marginal)",
        "return masked_mean(expectation(log_within, log_marginal)",
    ),
    Mutation(
        "the arguments of the marginal's loss are swapped",
        "expectation(log_within, log_marginal)",
        "expectation(log_marginal, log_within)",
    ),
    Mutation(
        "agents that do not act get a weight in the mixer",
        "agents = AgentRows.from_mask(acting)",
        "agents = AgentRows.from_mask(torch.ones_like(acting))",
    ),
    Mutation(
        "targets come from the trained networks",
        "self.target_agent.utilities(",
        "self.agent.utilities(",
    ),
    Mutation("the masked mean adds masked values", "torch.where(mask, values, 0.0).sum()", "values.sum()"),
    Mutation(
        "the policy learns from steps that were not played",
        "info.policy_loss(log_pi, cost, utilities, temperature, b.deciding)",
        "info.policy_loss(log_pi, cost, utilities, temperature, b.acting)",
    ),
    Mutation(
        "the marginal learns from steps that were not played",
        "info.marginal_loss(log_marginal, log_team, b.deciding)",
        "info.marginal_loss(log_marginal, log_team, b.acting)",
    ),
    Mutation(
        "the policy loss uses alpha instead of alpha_i",
        "            return self.alpha_i",
        "            return self.alpha",
    ),
    Mutation(
        "TD(lambda) omits the information cost",
        "targets[t + 1] - next_cost[t] - next_value[t]",
        "targets[t + 1] - next_value[t]",
    ),
    Mutation("TD(lambda) runs past the last step", "surplus = played[t + 1] * (", "surplus = ("),
    Mutation(
        "termination does not end an episode",
        "terminal = terminal | truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
        "terminal = truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
    ),
    Mutation(
        "a fault ends an episode like the time limit",
        " & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)",
        "",
    ),
    Mutation(
        "the input holds the current action instead of the last one",
        "before = torch.cat((earlier.unsqueeze(1), action[:, :-1]), dim=1)",
        "before = action",
    ),
    Mutation(
        "the imaginary objective is added instead of mixed in",
        "torch.lerp(loss_td, loss_imagined, self.imaginary_weight)",
        "loss_td + loss_imagined",
    ),
    Mutation("`within` shows the other group", "return mask & self._same(k)", "return mask & ~self._same(k)"),
    Mutation(
        "`interact` utilities are mixed with `within` weights",
        "weights, [WITHIN, INTERACT])",
        "weights, [WITHIN, WITHIN])",
    ),
    Mutation("every alternation uses the first imaginary team", "b.within(b.visible, 1 + m)", "b.within(b.visible, 1)"),
    Mutation("mixer weights may be negative", "final.softmax(dim=-1)", "final"),
    Mutation("the mixer has no bias", "weights.first[:, views]) + weights.bias", "weights.first[:, views])"),
    Mutation(
        "agents of group A count every entity as their group",
        "groups[..., :n_agents, None] == groups[..., None, :]",
        "groups[..., :n_agents, None] >= groups[..., None, :]",
    ),
]


def place_of(root: Path, mutation: Mutation) -> Path:
    """Returns the file below `root` that contains the text of a mutation.

    Raises:
        LookupError: unless the text occurs exactly once.
    """
    files = [path for pattern in SOURCES for path in sorted(root.glob(pattern)) if path.name not in ELSEWHERE]
    matches = [path for path in files for _ in range(path.read_text(encoding="utf-8").count(mutation.text))]
    if len(matches) != 1:
        where = ", ".join(path.name for path in matches) or "nowhere"
        raise LookupError(
            f"{mutation.what!r}: expected {mutation.text!r} once in {SOURCES}; it is in: {where}. "
            "Update the mutation to the current source"
        )
    return matches[0]


def mutate(root: Path, mutation: Mutation) -> Path:
    """Apply a mutation to the sources below `root`; returns the changed file, relative to `root`."""
    path = place_of(root, mutation)
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.text, mutation.instead), encoding="utf-8")
    return path.relative_to(root)


class Witness:
    """Pytest plugin that records the first failure."""

    failed = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        """Called by pytest for every phase of a test."""
        if getattr(report, "failed", False) and not self.failed:
            self.failed = str(report.nodeid)  # type: ignore[attr-defined]

    def pytest_collectreport(self, report: object) -> None:
        """Called by pytest for every collected file."""
        self.pytest_runtest_logreport(report)


def first_failure(copy: Path, tests: list[str]) -> str:
    """Returns the node ID of the first test that fails in the copy, or "" if all pass.

    Runs pytest in a forked child, because the child must not have imported any module of the sources before.

    Raises:
        ChildProcessError: if the child crashes.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        import hypothesis
        import pytest

        # Skip the shrink phase: any failing example will do.
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
    """Returns the first failing test among `TWINS` and among `EXACT` ("-" unless `mutation.exact`)."""
    path = copy / mutate(copy, mutation)
    try:
        return first_failure(copy, TWINS), first_failure(copy, EXACT) if mutation.exact else "-"
    finally:
        shutil.copy2(ROOT / path.relative_to(copy), path)


def row(mutation: Mutation, caught: str, exact: str) -> str:
    """Returns a row of the Markdown table."""
    by = f"`{short(caught)}`" if caught else "**survives**"
    alone = {"-": "", "": "**survives**"}.get(exact, f"`{short(exact)}`")
    text = mutation.text.replace("|", "\\|")  # a bare bar would end the table cell
    return f"| {mutation.what} | `{text}` | {by} | {alone} |"


def short(node: str) -> str:
    """Returns the file and name of a test without its folder and, if that is long, without its parameters."""
    name = node.rsplit("/", 1)[-1].removesuffix(".py")
    return name if len(name) < 90 else name.split("[")[0]


def main() -> None:
    """Run the chosen mutations and write the table unless `--only` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the mutations whose name contains this word; write nothing")
    parser.add_argument("--check", action="store_true", help="only check that the sources contain every text")
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.what]
    if arguments.check:
        for mutation in chosen:
            place_of(ROOT, mutation)
        return
    import hydra  # noqa: F401  # slow imports happen once, before the forks
    import lightning  # noqa: F401
    import torchrl.envs  # noqa: F401

    rows, survivors, witnesses, start_s = [], 0, set(), time.monotonic()
    # A mutated file may keep its size and the second of its timestamp, so stale bytecode or kernels could be loaded.
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = str(Path(folder) / "kernels")
        copy = Path(folder) / "copy"
        others = shutil.ignore_patterns(".*", "outputs", "__pycache__", "docs")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=others)
        for mutation in chosen:
            caught, exact = outcome(copy, mutation)
            survivors += (not caught) + (not exact)
            witnesses |= {caught, exact} - {"", "-"}
            rows.append(row(mutation, caught, exact))
            print(f"{time.monotonic() - start_s:5.0f} s  {rows[-1]}", flush=True)
        if failed := first_failure(copy, sorted(witnesses)):
            raise SystemExit(f"{failed} fails without any mutation: fix it first, the table would be wrong")
    if not arguments.only:
        head = PAGE.read_text(encoding="utf-8").split("| mutation |")[0]
        lines = ["| mutation | text | first test that fails | exact solution alone |", "|---|---|---|---|", *rows]
        PAGE.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
