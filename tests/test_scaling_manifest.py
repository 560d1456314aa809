"""The Kubernetes Job of docs/scaling.md: by Kubernetes' own schemas, and its parts by each other and by tflm."""

import pathlib
import shlex

import pytest
import yaml

from apps import train
from apps.common.command_line import RESUMABLE, WRONG_USAGE
from tflm.training.strategies import cluster_of

MANIFEST = pathlib.Path(__file__).parents[1] / "docs/scaling/kubernetes_job.yaml"


@pytest.fixture(name="documents")
def documents_fixture():
    """Kind to document."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))}


def test_the_schemas_of_kubernetes(documents):
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="needs kubernetes-validate: pip install 'tflm[dev]'"
    )
    assert sorted(documents) == ["Job", "PersistentVolumeClaim", "Service"]
    for document in documents.values():
        kubernetes_validate.validate(document, "1.29", strict=True)


def test_the_command_names_the_pods(documents):
    job, service = documents["Job"], documents["Service"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = shlex.split(container["args"][0])
    assert container["command"] == ["/bin/sh", "-c"] and words[:3] == ["exec", "tflm", "train"]
    for index in range(job["spec"]["completions"]):
        given = [word.replace("$JOB_COMPLETION_INDEX", str(index)) for word in words[2:]]
        train.FLAGS.unparse_flags()
        assert train.FLAGS(given) == ["train"]
        cluster = cluster_of(train.FLAGS.workers, train.FLAGS.worker_index)
        name = f"{job['metadata']['name']}-{index}.{service['metadata']['name']}"
        assert cluster.workers[index] == f"{name}:{service['spec']['ports'][0]['port']}"
    assert len(cluster.workers) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert train.FLAGS.workdir.startswith(container["volumeMounts"][0]["mountPath"] + "/")
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == documents["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_exit_codes_are_those_of_the_apps(documents):
    rules = documents["Job"]["spec"]["podFailurePolicy"]["rules"]
    actions = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert actions == {"Ignore": [RESUMABLE], "FailJob": [WRONG_USAGE]}
