"""The manifest: by Kubernetes' own schemas, its parts by each other, and its probes against a server."""

import shutil
import urllib.error
import urllib.request

import pytest
import yaml

from tflm.export.deploy.files import adapter_rule, kubernetes_file, kustomization_file
from tflm.export.deploy.settings import IMAGE, command_line, dns_label
from tflm.serving.server import ModelConfig, ModelManager, Server

NAMES = ["chat", "聊天 Bot.v1", "Über_Model 7"]


def documents(settings):
    """Kind to document."""
    return {document["kind"]: document for document in yaml.safe_load_all(kubernetes_file(settings))}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_the_schemas_of_kubernetes(made, name, kind):
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="needs kubernetes-validate: pip install 'tflm[dev]'"
    )
    found = documents(made(getattr(made, kind), name).settings)
    assert sorted(found) == [
        "Deployment",
        "HorizontalPodAutoscaler",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
    ]
    for document in found.values():
        kubernetes_validate.validate(document, "1.29", strict=True)


@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_its_parts_fit_each_other(made, kind):
    settings = made(getattr(made, kind), "聊天").settings
    found = documents(settings)
    deployment, service = found["Deployment"]["spec"], found["Service"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == service["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert all(document["metadata"]["name"].startswith(dns_label("聊天")) for document in found.values())
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": found["Deployment"]["metadata"]["name"],
    }
    pod = deployment["template"]["spec"]
    assert (
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
        == found["PersistentVolumeClaim"]["metadata"]["name"]
    )
    (container,) = pod["containers"]
    assert {volume["name"] for volume in pod["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports


@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_it_starts_what_the_command_line_says(made, kind):
    settings = made(getattr(made, kind)).settings
    pod = documents(settings)["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] + container["args"] == command_line(settings)
    assert container["image"] == IMAGE
    flags = dict(flag[2:].split("=") for flag in container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": int(flags["port"]), "rest": int(flags["rest_api_port"])}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == flags["rest_api_port"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert settings.base_path.startswith(f"{mounts['models']}/")
    files = [value for name, value in flags.items() if name.endswith("_file")]
    assert all(value.startswith(f"{mounts['config']}/") for value in files)
    assert container["resources"]["limits"]["memory"] == f"{settings.memory_mib}Mi"


@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_a_server_that_goes_answers_the_longest_request_first(made, kind):
    settings = made(getattr(made, kind)).settings
    spec = documents(settings)["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    flags = dict(flag[2:].split("=") for flag in container["args"])
    _, wait = container["lifecycle"]["preStop"]["exec"]["command"]
    longest = int(flags["rest_api_timeout_in_ms"]) / 1000
    assert longest < int(wait) < pod["terminationGracePeriodSeconds"]
    assert pod["shareProcessNamespace"], "as process 1 it would never end by itself"
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= longest, "a busy server is no broken one"


def test_the_config_files_are_those_of_the_folder(made):
    settings = made(made.writer, "Chat").settings
    found = yaml.safe_load(kustomization_file(settings))
    (generator,) = found["configMapGenerator"]
    volumes = documents(settings)["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert generator["name"] == volumes[1]["configMap"]["name"]
    assert generator["files"] == ["models.config", "batching.config", "monitoring.config"]
    assert found["generatorOptions"] == {"disableNameSuffixHash": True}
    assert found["resources"] == ["kubernetes.yaml"]


def test_the_autoscaler_asks_for_what_the_adapter_offers(made):
    (metric,) = documents(made(made.writer).settings)["HorizontalPodAutoscaler"]["spec"]["metrics"]
    (rule,) = yaml.safe_load(adapter_rule())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert ":tensorflow:serving:request_latency_sum" in rule["seriesQuery"]


@pytest.mark.parametrize("name", ["chat", "聊天 Bot.v1"])
def test_the_probes_see_whether_a_version_is_available(made, answering, tmp_path, name):
    settings = made(made.classifier, name).settings
    (container,) = documents(settings)["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")}
    shutil.copytree(answering, tmp_path / "good" / "1")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no model")
    for folder, code in (("good", 200), ("broken", 404), ("none", 404)):
        manager = ModelManager([ModelConfig(name, str(tmp_path / folder))])
        manager.start()
        with Server(manager, rest_port=0) as server:
            url = f"http://127.0.0.1:{server.rest_port}"
            assert [status_of(url + path) for path in paths] == [code]
            if folder == "broken":
                assert status_of(url + settings.url_path) == 200, "the code of the status alone does not tell"
        manager.stop()


def status_of(url):
    """The HTTP status of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
