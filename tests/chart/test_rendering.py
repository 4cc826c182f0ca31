"""What the chart renders, without a cluster."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from adsync.resources.crd import DEFINITIONS, crd
from adsync.settings import Settings
from lab.processes import LabError
from tests.chart.support import CHART, NAMESPACE, helm, render

DOMAIN = {"name": "corp", "namespace": "people", "spec": {"domainName": "corp.example.com", "credentialsSecretRef": {"name": "corp-ad"}}}
MONITORING = ("--api-versions", "monitoring.coreos.com/v1")
CUSTOM = ("--api-versions", "adsync.dev/v1alpha1/ADDomain")


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 2},
        {"image": {"repo": "x"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"image": {"digest": "sha256:1234"}},
        {"replicas": "two"},
        {"log": {"level": "loud"}},
        {"namespaces": ["Not_A_Name"]},
        {"domains": [{"name": "corp"}]},
        {"domains": [{**DOMAIN, "specs": {}}]},
        {"networkPolicy": {"ldaps": {"ports": [0]}}},
        {"metrics": {"serviceMonitor": {"intervall": "30s"}}},
        {"extraEnv": [{"value": "x"}]},
    ],
    ids=lambda values: json.dumps(values)[:60],
)
def test_values_that_the_schema_does_not_know_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LabError, match="values don't meet the specifications"):
        render(values)


def test_every_value_is_in_the_schema_with_a_description() -> None:
    def walk(values: Any, part: dict[str, Any], path: str) -> None:
        assert part.get("description"), f"{path} has no description"
        properties = part.get("properties")
        if properties is None:
            return
        assert part["additionalProperties"] is False, f"{path} takes anything"
        assert set(properties) - {"global"} == set(values), path
        for name in values:
            walk(values[name], properties[name], f"{path}.{name}")

    walk(yaml.safe_load((CHART / "values.yaml").read_text()), schema() | {"description": "all"}, "values")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replicas": 2, "leaderElection": False}, "two operators would write at once"),
        ({"serviceAccount": {"create": False}}, "Name the account to use"),
        ({"image": {"tag": "1", "digest": "sha256:" + "0" * 64}}, "image.tag and image.digest are both set"),
        ({"namespaces": ["sales"], "domains": [DOMAIN]}, "Add people to namespaces"),
        ({"namespaces": ["people"], "secretNamespaces": ["sales"]}, "secretNamespaces has sales"),
        ({"secretNamespaces": ["sales"], "domains": [DOMAIN]}, "Add people to secretNamespaces"),
        ({"domains": [DOMAIN, DOMAIN]}, "domains has people/corp twice"),
        ({"domains": [DOMAIN], "rbac": {"create": False}}, "in uninstall.serviceAccountName"),
        ({"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}}, "there would be nothing to scrape"),
    ],
)
def test_bad_combinations_fail_early(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LabError, match=complaint):
        render(values)


def test_crds_are_those_of_the_models_and_are_kept() -> None:
    found = {each["metadata"]["name"]: each for each in render().of("CustomResourceDefinition")}
    assert set(found) == {definition.kind.crd for definition in DEFINITIONS}
    for definition in DEFINITIONS:
        rendered = found[definition.kind.crd]
        assert rendered["spec"] == crd(definition)["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_crds_can_be_left_out_or_go_with_the_release() -> None:
    assert not render({"crds": {"enabled": False}}).of("CustomResourceDefinition")
    for each in render({"crds": {"keep": False}}).of("CustomResourceDefinition"):
        assert "annotations" not in each["metadata"]


@pytest.mark.parametrize(
    "values", [{}, {"leaderElection": False}, {"namespaces": ["a", "b"], "secretNamespaces": ["b"], "resolvers": ["10.0.0.1:5353"]}]
)
def test_the_arguments_are_options_of_the_operator(values: dict[str, Any]) -> None:
    command, *options = render(values).container["args"]
    assert command == "run"
    given: dict[str, Any] = {"namespaces": (), "secret_namespaces": (), "resolvers": ()}
    for option in options:
        name, _, value = option.removeprefix("--").replace("-", "_").partition("=")
        if name in ("namespace", "secret_namespace", "resolver"):
            given[f"{name}s"] += (value.replace("_", "-"),)
        else:
            given[name] = value or True
    settings = Settings(**given)
    assert settings.leader_elect is values.get("leaderElection", True)
    assert settings.namespaces == tuple(values.get("namespaces", ()))
    assert settings.secret_namespaces == tuple(values.get("secretNamespaces", ()))


def test_the_pod_is_restricted() -> None:
    rendered = render({"domains": [DOMAIN]})
    for spec in (rendered.pod, rendered.one("Job")["spec"]["template"]["spec"]):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert container["resources"]["limits"]["memory"]


def test_one_replica_replaces_itself_through_the_election_and_without_it_goes_first() -> None:
    assert render().one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert render({"leaderElection": False}).one("Deployment")["spec"]["strategy"] == {"type": "Recreate", "rollingUpdate": None}


def test_more_than_one_replica_is_spread_and_kept_up() -> None:
    one, two = render(), render({"replicas": 2})
    assert not one.of("PodDisruptionBudget")
    assert "topologySpreadConstraints" not in one.pod
    assert two.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert [each["topologyKey"] for each in two.pod["topologySpreadConstraints"]] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]


def test_with_a_list_of_namespaces_nothing_is_granted_outside_of_them() -> None:
    rendered = render({"namespaces": ["people", "sales"], "rbac": {"aggregate": False}})
    assert not rendered.of("ClusterRole")
    assert not rendered.of("ClusterRoleBinding")
    assert {each["metadata"]["namespace"] for each in rendered.of("Role")} == {"people", "sales", NAMESPACE}
    own = next(each for each in rendered.of("Role") if each["metadata"]["namespace"] == NAMESPACE)
    for rule in own["rules"]:
        assert rule["resources"] != ["secrets"] or rule["verbs"] == ["create"] or rule["resourceNames"] == ["adsync-password-digests"]


@pytest.mark.parametrize("namespaces", [[], ["people", "sales"]])
def test_with_a_list_of_secret_namespaces_secrets_are_granted_nowhere_else(namespaces: list[str]) -> None:
    rendered = render({"namespaces": namespaces, "secretNamespaces": ["people"], "rbac": {"aggregate": False}})
    for role in rendered.of("ClusterRole") + rendered.of("Role"):
        where = role["metadata"].get("namespace")
        whole = [rule for rule in role["rules"] if rule["resources"] == ["secrets"] and "list" in rule["verbs"]]
        assert len(whole) == (role["metadata"]["name"].endswith("-secrets") if not namespaces else where == "people")
        assert not whole or where == "people"
        assert all(rule in whole or "secrets" not in rule["resources"] for rule in role["rules"] if where != NAMESPACE)


def test_no_role_of_the_operator_has_wildcards_or_writes_secrets_or_roles() -> None:
    for rendered in (render(), render({"namespaces": ["people"]}), render({"secretNamespaces": ["people"]})):
        for role in rendered.of("ClusterRole") + rendered.of("Role"):
            for rule in role["rules"]:
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
                assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
                if "secrets" in rule["resources"] and "resourceNames" not in rule and rule["verbs"] != ["create"]:
                    assert set(rule["verbs"]) == {"get", "list", "watch"}


def notes(values: dict[str, Any]) -> str:
    """What `helm install` prints at the end, in a cluster without a Prometheus Operator."""
    args = ("install", "adsync", CHART, "-n", NAMESPACE, "--dry-run=client")
    return helm(*args, values=values, env={"KUBECONFIG": "/nonexistent"}).partition("NOTES:")[2]


def test_the_first_resources_in_the_notes_are_where_they_work() -> None:
    assert "kubectl create namespace people" in notes({})
    for values in (
        {"namespaces": ["sales"]},
        {"secretNamespaces": ["sales"]},
        {"namespaces": ["it", "sales"], "secretNamespaces": ["sales"]},
    ):
        told = notes(values)
        assert "create namespace" not in told
        first, *others = yaml.safe_load_all(told.partition("<<EOF\n")[2].partition("\nEOF\n")[0])
        assert {each["metadata"]["namespace"] for each in (first, *others)} == {"sales"}
        assert "-n sales create secret" in told


def test_what_is_left_out_is_told() -> None:
    assert "WARNING" not in notes({})
    both = {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}}
    assert "ServiceMonitor and PrometheusRule left out" in notes({"metrics": both})
    assert "WARNING: this cluster has no Prometheus Operator: PrometheusRule left out" in notes({"metrics": {"rules": {"enabled": True}}})
    assert "WARNING" not in notes({"metrics": {"rules": {"enabled": True, "skipIfMissing": False}}})


def test_only_view_and_admin_know_domains() -> None:
    rendered = render()
    name = f"{NAMESPACE}-adsync"
    assert "addomains" in rendered.one("ClusterRole", f"{name}-view")["rules"][0]["resources"]
    assert "addomains" not in rendered.one("ClusterRole", f"{name}-edit")["rules"][0]["resources"]
    assert rendered.one("ClusterRole", f"{name}-admin")["rules"][0]["resources"] == ["addomains"]


def test_the_network_policy_names_the_only_ways_out() -> None:
    assert not render().of("NetworkPolicy")
    policy = render({"networkPolicy": {"enabled": True, "ldaps": {"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}}}).one("NetworkPolicy")[
        "spec"
    ]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [[each["port"] for each in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [443, 6443], [636]]
    assert policy["egress"][2]["to"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]


def test_monitoring_is_left_out_where_the_cluster_does_not_know_it() -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}}}
    assert not render(values).of("ServiceMonitor") + render(values).of("PrometheusRule")
    rendered = render(values, *MONITORING)
    assert (
        rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= rendered.one("Service")["metadata"]["labels"].items()
    )
    rules = [rule for group in rendered.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert all(rule["annotations"]["runbook_url"].startswith("https://") for rule in rules if "alert" in rule)
    insisting = {"metrics": {"serviceMonitor": {"enabled": True, "skipIfMissing": False}}}
    assert render(insisting).of("ServiceMonitor")


def test_the_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    made = render({"metrics": {"dashboard": {"enabled": True}}}).one("ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["adsync.json"])["title"] == "adsync"


def test_extras_arrive() -> None:
    rendered = render({
        "extraArgs": ["--no-leader-elect"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-two'}",
        ],
    })  # fmt: skip
    assert rendered.container["args"][-1] == "--no-leader-elect"
    assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in rendered.container["env"]
    assert rendered.container["volumeMounts"][-1]["mountPath"] == "/ca"
    assert rendered.pod["volumes"][-1]["name"] == "ca"
    assert {each["metadata"]["name"] for each in rendered.of("ConfigMap")} == {"one", "adsync-two"}


def test_domains_are_hooks_only_until_the_cluster_knows_their_kind() -> None:
    values = {"domains": [DOMAIN]}
    first, later = render(values).one("ADDomain"), render(values, *CUSTOM).one("ADDomain")
    assert first["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert first["metadata"]["annotations"]["meta.helm.sh/release-name"] == "adsync"  # so that an upgrade may take it over
    assert "annotations" not in later["metadata"]
    assert first["spec"] == later["spec"] == DOMAIN["spec"]


def test_the_uninstall_hook_may_delete_the_charts_own_domains_only() -> None:
    assert not render().of("Job")
    rendered = render({"domains": [DOMAIN, {**DOMAIN, "name": "emea"}]})
    assert rendered.one("Job")["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert rendered.one("Job")["spec"]["template"]["spec"]["containers"][0]["args"][1:] == ["120", "people/corp", "people/emea"]
    role = rendered.one("Role", "adsync-uninstall")
    assert role["metadata"]["namespace"] == "people"
    assert role["rules"] == [
        {"apiGroups": ["adsync.dev"], "resources": ["addomains"], "resourceNames": ["corp", "emea"], "verbs": ["get", "delete"]}
    ]
    assert not render({"domains": [DOMAIN], "uninstall": {"enabled": False}}).of("Job")


def test_where_the_chart_makes_no_rights_the_hook_has_an_account_of_yours() -> None:
    rendered = render({"domains": [DOMAIN], "rbac": {"create": False}, "uninstall": {"serviceAccountName": "remover"}})
    assert not [each for each in rendered if each["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")]
    assert [each["metadata"]["name"] for each in rendered.of("ServiceAccount")] == ["adsync"]
    assert rendered.one("Job")["spec"]["template"]["spec"]["serviceAccountName"] == "remover"
    for values in ({"domains": [DOMAIN], "uninstall": {"enabled": False}}, {}):
        assert not render({"rbac": {"create": False}, **values}).of("Role")


def test_the_uninstall_hook_may_talk_to_the_api_server_only() -> None:
    to = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    rendered = render({"domains": [DOMAIN], "networkPolicy": {"enabled": True, "apiServer": {"to": to, "ports": [6443]}}})
    policy = rendered.one("NetworkPolicy", "adsync-uninstall")["spec"]
    labels = rendered.one("Job")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    assert policy["egress"] == [{"ports": [{"port": 6443, "protocol": "TCP"}], "to": to}]
    assert len(render({"networkPolicy": {"enabled": True}}).of("NetworkPolicy")) == 1


def test_the_table_of_values_is_that_of_the_chart() -> None:
    sys.path.insert(0, str(CHART.parent))
    try:
        page = importlib.import_module("values_table").page()
    finally:
        sys.path.remove(str(CHART.parent))
    assert (CHART.parents[1] / "docs" / "values.md").read_text() == page, "run `make values`"


def test_the_dashboard_is_the_one_that_its_code_makes() -> None:
    root = CHART.parents[1]
    options = ["run", "--quiet", "--no-project", "--isolated", "--with-requirements", "requirements-dashboards.txt"]
    uv = [str(Path(sys.executable).with_name("uv")), *options, "python"]
    if subprocess.run([*uv, "-c", "import grafana_foundation_sdk"], cwd=root, capture_output=True, check=False).returncode:
        pytest.skip("grafana-foundation-sdk can't be installed here")
    done = subprocess.run([*uv, "dashboards/dashboard.py", "--check"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
