"""The kustomize base is valid, a namespace with PodSecurity "restricted" admits it, and its ends are Kubernetes' ends."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.errors import ConfigError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.needs import Needs
from prodkit.jobs.schedules.targets import render_target
from prodkit.manifest.model import Resources
from tests.jobs.targets.conftest import HOSTILE, check, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.schedules.plan import Plan

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def not_restricted(pod: dict[str, Any]) -> list[str]:
    """What PodSecurity "restricted" would refuse in a pod's spec.

    The controls are those of the Pod Security Standards, baseline and restricted, as the Kubernetes documentation lists
    them under "Concepts, Security, Pod Security Standards" for Linux pods.
    """
    whole = pod.get("securityContext", {})
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    found += [f"volume {volume['name']}" for volume in pod.get("volumes", []) if not set(volume) - {"name"} <= _VOLUMES]
    found += [f"sysctls {whole['sysctls']}"] if whole.get("sysctls") else []
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            own = container.get("securityContext", {})
            profile = own.get("seccompProfile", whole.get("seccompProfile", {})).get("type")
            capabilities = own.get("capabilities", {})
            refused = {
                "privileged": own.get("privileged", False),
                "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
                "runAsNonRoot": own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True,
                "runAsUser": own.get("runAsUser", whole.get("runAsUser", 1)) == 0,
                "seccompProfile": profile not in {"RuntimeDefault", "Localhost"},
                "drop ALL": "ALL" not in capabilities.get("drop", []),
                "capabilities": bool(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}),
                "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
                "procMount": own.get("procMount", "Default") != "Default",
                "seLinuxOptions": bool(own.get("seLinuxOptions", whole.get("seLinuxOptions"))),
                "appArmorProfile": own.get("appArmorProfile", {}).get("type") == "Unconfined",
                "hostProcess": bool(own.get("windowsOptions", whole.get("windowsOptions"))),
                "probe host": any("host" in str(container.get(probe, "")) for probe in ("livenessProbe", "lifecycle")),
            }
            found += [control for control, holds in refused.items() if holds]
    return found


@pytest.fixture
def base(plan: Plan, tmp_path: Path) -> dict[str, Any]:
    """The base's objects by their file."""
    return {path.name: yaml.safe_load(path.read_text()) for path in written(plan, "kubernetes", tmp_path)}


def job_of(base: dict[str, Any]) -> dict[str, Any]:
    """The Job's spec in the CronJob."""
    return base["cronjob.yaml"]["spec"]["jobTemplate"]["spec"]


def pod_of(base: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec in the CronJob."""
    return job_of(base)["template"]["spec"]


def test_kubernetes_knows_every_word(plan: Plan, tmp_path: Path) -> None:
    """Each object fits the API's schema strictly, and the words that the schema doesn't list are known ones."""
    for path in written(plan, "kubernetes", tmp_path):
        if path.name != "kustomization.yaml":
            check(["kubernetes-validate", "--strict", str(path)])
    spec = yaml.safe_load((tmp_path / "kubernetes" / "cronjob.yaml").read_text())["spec"]
    assert (spec["timeZone"], spec["schedule"]) == ("Europe/Berlin", "0 6 * * 1-5")
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert {rule["action"] for rule in job["podFailurePolicy"]["rules"]} <= {"FailJob", "Ignore", "Count", "FailIndex"}


def test_kustomize_builds_the_base(plan: Plan, tmp_path: Path) -> None:
    """`kubectl kustomize` gives the four objects, and each name that one refers to is another's, the secret's or data's."""
    written(plan, "kubernetes", tmp_path)
    built = list(yaml.safe_load_all(check(["kubectl", "kustomize", str(tmp_path / "kubernetes")])))
    assert {one["kind"] for one in built} == {"ConfigMap", "CronJob", "PersistentVolumeClaim", "ServiceAccount"}


def test_the_base_holds_together(base: dict[str, Any], plan: Plan) -> None:
    """The kustomization lists exactly its files, and what the pod refers to is in them; only the secret isn't."""
    assert set(base["kustomization.yaml"]["resources"]) == set(base) - {"kustomization.yaml"}
    names = {one["kind"]: one["metadata"]["name"] for name, one in base.items() if name != "kustomization.yaml"}
    pod = pod_of(base)
    (container,) = pod["containers"]
    assert pod["serviceAccountName"] == names["ServiceAccount"]
    assert base["serviceaccount.yaml"]["automountServiceAccountToken"] is False
    assert container["envFrom"] == [
        {"configMapRef": {"name": names["ConfigMap"]}},
        {"secretRef": {"name": f"{plan.unit}-secrets", "optional": False}},
    ]
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    assert claims == {"state": {"claimName": names["PersistentVolumeClaim"]}, "scratch": None}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(claims)
    settings = base["configmap.yaml"]["data"]
    assert settings == {
        "HOME": "/tmp",  # noqa: S108  in the container
        "PRODKIT_PROJECT": "/job",
        "PRODKIT_STATE": "/state",
        "MLFLOW_TRACKING_URI": "https://mlflow.northwind.test",
    }
    assert base["state.yaml"]["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "3Gi"}, "limits": {"memory": "3Gi"}}
    labels = base["cronjob.yaml"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "sample"
    assert base["cronjob.yaml"]["metadata"]["annotations"]["prodkit/accountable"] == "Ana Ruiz"


def test_the_secret_is_told_by_names(plan: Plan) -> None:
    """The base says which keys its secret must have: those of the manifest's models; no value is in any file."""
    files = render_target("kubernetes", plan)
    assert plan.needs.secrets == ("ACME_TOKEN", "OPENAI_API_KEY")
    assert "ACME_TOKEN, OPENAI_API_KEY" in files["kubernetes/kustomization.yaml"]


def test_podsecurity_restricted_admits_it(base: dict[str, Any]) -> None:
    """No control of the restricted standard refuses the pod, and its root file system is read-only."""
    pod = pod_of(base)
    assert not_restricted(pod) == []
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pod: pod["securityContext"].pop("seccompProfile"),
        lambda pod: pod["securityContext"].pop("runAsNonRoot"),
        lambda pod: pod["securityContext"].update(runAsUser=0),
        lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"),
        lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
        lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda pod: pod.update(hostNetwork=True),
        lambda pod: pod.update(initContainers=[{"name": "first", "image": "x"}]),
    ],
)
def test_the_check_of_the_standard_can_fail(spoil: Callable[[dict[str, Any]], object], base: dict[str, Any]) -> None:
    """Each loosened control is found, so that the test above means something."""
    pod = copy.deepcopy(pod_of(base))
    spoil(pod)
    assert not_restricted(pod)


def decide(job: dict[str, Any], code: int) -> str:
    """What the Job does about a container that exited with this code: the first rule that fits, else it counts."""
    for rule in job["podFailurePolicy"]["rules"]:
        if code in rule.get("onExitCodes", {}).get("values", []):
            return str(rule["action"])
    return "Count"


def test_every_end_has_one_reaction(base: dict[str, Any]) -> None:
    """Ends that trying again can't mend fail the Job, transient ones count, and a stop or a drained node doesn't count."""
    job = job_of(base)
    said = {outcome: decide(job, outcome.exit_code) for outcome in Outcome if outcome is not Outcome.OK}
    assert {said[end] for end in (Outcome.FAILED, Outcome.BAD_INPUT, Outcome.REFUSED, Outcome.MISCONFIGURED)} == {
        "FailJob"
    }
    assert {said[end] for end in (Outcome.TRANSIENT, Outcome.KERNEL_DIED, Outcome.LOST, Outcome.RUNNING)} == {"Count"}
    assert said[Outcome.TERMINATED] == "Ignore"
    first = job["podFailurePolicy"]["rules"][0]
    assert (first["action"], first["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_one_layer_tries_again(plan: Plan) -> None:
    """With a volume for the state the Job tries again and prodkit doesn't; without one it is the other way round."""
    spec = yaml.safe_load(render_target("kubernetes", plan)["kubernetes/cronjob.yaml"])["spec"]["jobTemplate"]["spec"]
    assert spec["backoffLimit"] == plan.how.retries == 2
    assert spec["template"]["spec"]["containers"][0]["args"][-4:] == ["--retries", "0", "--key", "$(TICK)"]
    assert spec["activeDeadlineSeconds"] > plan.how.timeout
    bare = replace(plan, needs=replace(plan.needs, resources=Resources(state="none")))
    files = render_target("kubernetes", bare)
    spec = yaml.safe_load(files["kubernetes/cronjob.yaml"])["spec"]["jobTemplate"]["spec"]
    assert spec["backoffLimit"] == 0
    assert "--retries" not in spec["template"]["spec"]["containers"][0]["args"]
    assert {"name": "state", "emptyDir": {}} in spec["template"]["spec"]["volumes"]
    assert "kubernetes/state.yaml" not in files


def test_data_that_does_not_come_along_is_mounted(plan: Plan) -> None:
    """Each folder of data is a read-only mount where the job expects it."""
    needs = replace(plan.needs, data=(("/job/data", "data"), ("/srv/share", "srv/share")))
    spec = yaml.safe_load(render_target("kubernetes", replace(plan, needs=needs))["kubernetes/cronjob.yaml"])["spec"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    mounts = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "data"]
    assert [(mount["mountPath"], mount["subPath"], mount["readOnly"]) for mount in mounts] == [
        ("/job/data", "data", True),
        ("/srv/share", "srv/share", True),
    ]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": f"{plan.unit}-data", "readOnly": True}} in pod[
        "volumes"
    ]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_parameter_stays_one_argument(value: str, plan: Plan) -> None:
    """Whatever a parameter holds, Kubernetes gives it to the job as it is."""
    text = render_target("kubernetes", replace(plan, params={"n": value}))["kubernetes/cronjob.yaml"]
    args = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[:2] == ["-p", "n=" + value.replace("$", "$$")]  # `$$` is Kubernetes' own `$`


def test_kubernetes_needs_an_image(plan: Plan) -> None:
    """Without an image there is an error that says how to make one, and no file with a placeholder."""
    with pytest.raises(ConfigError, match=r"schedule\.image"):
        render_target("kubernetes", replace(plan, image=""))


def test_sundays_are_zero_and_odd_days_are_refused(plan: Plan) -> None:
    """Kubernetes knows no day 7, and would take `*/2` beside a weekday otherwise than crontab(5)."""
    weekly = replace(plan, cron=Cron("0 6 * * 6-7"), needs=Needs())
    assert (
        yaml.safe_load(render_target("kubernetes", weekly)["kubernetes/cronjob.yaml"])["spec"]["schedule"]
        == "0 6 * * 0,6"
    )
    for target in ("kubernetes", "github", "airflow"):
        with pytest.raises(ConfigError, match=r"schedule\.days"):
            render_target(target, replace(plan, cron=Cron("0 6 */2 * 1")))


def test_the_command_makes_the_base(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """`prodkit schedule --target kubernetes --to` a folder that isn't there yet writes the base with its subfolder."""
    words = ["schedule", "add", str(make_job("x = 1")), "--cron", "0 6 * * *", "--target", "kubernetes"]
    done = CliRunner().invoke(cli, [*words, "--image", "registry.test/x:1", "--to", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "kubernetes" / "kustomization.yaml").is_file()
