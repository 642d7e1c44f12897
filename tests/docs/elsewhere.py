"""Commands of the documentation that neither suite nor walk runs: which job of CI does, or why nothing can."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from docs.pages import ROOT


@dataclass(frozen=True)
class Job:
    """A step of a GitHub workflow that runs the command."""

    workflow: str
    job: str

    def __str__(self) -> str:
        return f"run by CI: {self.workflow}.yml, job {self.job}"

    def runs(self, command: str) -> bool:
        """Whether a step of the job runs it."""
        text = (ROOT / ".github" / "workflows" / f"{self.workflow}.yml").read_text(encoding="utf-8")
        steps = yaml.safe_load(text)["jobs"].get(self.job, {}).get("steps", [])
        return any(line.strip().startswith(command) for step in steps for line in step.get("run", "").splitlines())


@dataclass(frozen=True)
class Cannot:
    """Why it is run nowhere."""

    reason: str

    def __str__(self) -> str:
        return f"not run: {self.reason}"


ELSEWHERE: dict[str, Job | Cannot] = {
    r"make demo": Job("ci", "demo"),
    r"make test": Job("ci", "test"),
    r"make stack-(up|trial|test|down)( .*)?": Job("stack", "stack"),
    r"make record": Job("stack", "stack"),
    r"make stack-logstash": Job("stack", "logstash"),
    r"make demo KEEP=1": Cannot("the demo that CI runs, which then stays until somebody ends it"),
    r"make demo ELASTICSEARCH_URL=.*": Cannot("takes a cluster of the reader's"),
}
"""By what the whole command is, as a regular expression."""


def elsewhere(command: str) -> Job | Cannot | None:
    """What stands for a command in the table."""
    return next((where for known, where in ELSEWHERE.items() if re.fullmatch(known, command)), None)
