"""What comes from a job folder that somebody else wrote becomes no path and no line of its own in another system's file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from prodkit.errors import ConfigError, ParameterError
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.targets import TARGETS, render_target
from prodkit.ownership import Contact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.schedules.plan import Plan

NAMES = (
    "../../../evilplace",
    "a/b",
    "..",
    "",
    'x"""\nimport os; os.system("touch pwned")\n"""',
    "x\n* * * * * touch pwned",
    "x\n",
    "$(touch pwned)",
    "-rf",
    "x" * 64,
)
TEXTS = ("a\nb", "a\rb", "a\x00b", "a\u2028b", "a\x1b[31mb")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_name_is_refused(name: str, plan: Plan, make_job: Callable[..., Path]) -> None:
    """Neither a job folder with such a name loads, nor does a plan with it write a file."""
    with pytest.raises(ConfigError, match=r"schedule\.text"):
        replace(plan, name=name)
    job = make_job("x = 1")
    index = yaml.safe_load((job / "job.yaml").read_text())
    (job / "job.yaml").write_text(yaml.safe_dump(index | {"name": name}))
    with pytest.raises(ConfigError, match=r"job\.invalid"):
        JobFolder.load(job)


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_break_ends_no_line(text: str, plan: Plan) -> None:
    """A parameter, a folder or an image with a line break or the like is refused, for every timekeeper."""
    with pytest.raises(ParameterError, match=r"schedule\.parameter"):
        replace(plan, params={"n": text})
    for field in ({"place": text}, {"image": text}):
        with pytest.raises(ConfigError, match=r"schedule\.text"):
            replace(plan, **field)


def test_a_cron_line_is_one_line(plan: Plan) -> None:
    """A line break between the fields isn't carried into a file, also not into a comment."""
    broken = replace(plan, cron=Cron("0 6 *\n* 1-5"))
    for target in TARGETS:
        for text in render_target(target, broken).values():
            assert "*\n*" not in text


@pytest.mark.parametrize("target", TARGETS)
def test_a_person_is_only_text(target: str, plan: Plan, tmp_path: Path) -> None:
    """A name and an address in prodkit.yaml stay text in every file: no key, no line, no code, no file elsewhere."""
    nasty = 'Ana"""\'; touch pwned\n* * * * * x # ${{ secrets.X }} {{ x }} %n $(touch pwned)'
    person = Contact("ana", nasty, "a@b.test\nMAILTO=x", "@ana\n- x: y")
    plain = render_target(target, plan)
    spoiled = render_target(target, replace(plan, needs=replace(plan.needs, accountable=person)))
    assert set(plain) == set(spoiled)
    for name, text in spoiled.items():
        same = len(text.splitlines()) - len(plain[name].splitlines())
        assert same in ({-1, 0} if name.endswith(".crontab") else {0}), text  # without an address there is no MAILTO
        if name.endswith((".yaml", ".yml")):
            assert _shape(yaml.safe_load(text)) == _shape(yaml.safe_load(plain[name]))
        if name.endswith(".py"):
            compile(text, name, "exec")
            assert (
                "pwned"
                not in text.replace(repr(nasty.replace("\n", " "))[1:-1], "")
                .split("class ProdkitRun")[1]
                .split("doc_md")[0]
            )


def test_a_job_folder_decides_nothing_but_its_own(plan: Plan) -> None:
    """What else job.yaml says as text, such as the Python version, stays one value in the workflow."""
    nasty = '3.11"\n      - run: touch pwned ${{ secrets.OPENAI_API_KEY }}'
    (text,) = render_target("github", replace(plan, how=plan.how.model_copy(update={"python": nasty}))).values()
    steps = yaml.safe_load(text)["jobs"]["run"]["steps"]
    assert steps[1]["with"]["python-version"] == nasty.replace("${{", "${{ '${{' }}")
    assert not [step for step in steps if "pwned" in step.get("run", "")]


@pytest.mark.parametrize(
    "address", ["https://ana:word@mlflow.test", "https://x.test/' }} ${{ secrets.X }}", "https://x.test\nmore", "a b"]
)
def test_an_address_is_an_address(address: str) -> None:
    """MLflow's address in the manifest holds no credentials, and nothing that would end its place in a file."""
    from pydantic import ValidationError

    from prodkit.manifest.model import Job

    with pytest.raises(ValidationError):
        Job(tracking_uri=address)
    assert Job(tracking_uri="https://mlflow.test:5000/path").tracking_uri


def _shape(value: object) -> object:
    """Keys and lengths, without the texts."""
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items()}
    return [_shape(part) for part in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("target", TARGETS)
def test_files_stay_in_their_folder(target: str, plan: Plan) -> None:
    """Every file's name is plain, at most one folder deep."""
    import re

    for name in render_target(target, plan):
        assert re.fullmatch(r"(kubernetes/)?[a-z0-9_@.-]+", name)
        assert ".." not in name
