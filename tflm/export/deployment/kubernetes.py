"""kubernetes.yaml and kustomization.yaml: servers in a cluster, that are replaced without a request lost and grow in
number with their queue."""

import json
import textwrap

from tflm.export.deployment.settings import (
    CONFIG_FOLDER,
    GRPC_PORT,
    IMAGE,
    METRIC,
    METRICS_PATH,
    NUM_CPUS,
    REST_PORT,
    Settings,
    command_line,
)


def kustomization_file(settings: Settings) -> str:
    """What `kubectl apply -k` reads: the manifest, and the `.config` files as they are, so that they exist once."""
    return f"""\
# kubectl apply -k .        README.md says what has to be there first.
resources: [kubernetes.yaml]
configMapGenerator:
  - name: {settings.kubernetes_name}-config
    files: [models.config, batching.config, monitoring.config]
# The same name after each change: the servers read it anew, and need not start again.
generatorOptions: {{disableNameSuffixHash: true}}
"""


def kubernetes_file(settings: Settings) -> str:
    """The documents as text: storage, servers, their address, and how many there are."""
    documents = [_storage(settings), _deployment(settings), _service(settings), _number(settings)]
    return "---\n".join(documents)


def _storage(settings: Settings) -> str:
    return f"""\
# Holds the folder {json.dumps(settings.model.name, ensure_ascii=False)} with its versions, as it is in saved_models/.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {settings.kubernetes_name}-models
spec:
  accessModes: [ReadWriteMany]
  resources:
    requests:
      storage: {settings.storage_gib}Gi
"""


def _deployment(settings: Settings) -> str:
    name = settings.kubernetes_name
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  # No number of replicas: that is the autoscaler's.
  selector:
    matchLabels: {{app: {name}}}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{REST_PORT}"
        prometheus.io/path: {METRICS_PATH}
    spec:
      automountServiceAccountToken: false
      # TensorFlow Serving does not handle SIGTERM, which as process 1 it would never see: it would serve until it is
      # killed. So another process is number 1, and before the signal all requests are given time to be answered.
      shareProcessNamespace: true
      terminationGracePeriodSeconds: {settings.drain_seconds + 30}
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: server
          image: {IMAGE}
{textwrap.indent(_container(settings), " " * 10)}\
      volumes:
        - name: models
          persistentVolumeClaim: {{claimName: {name}-models, readOnly: true}}
        - name: config
          configMap: {{name: {name}-config}}
"""


def _container(settings: Settings) -> str:
    program, *given = command_line(settings)
    flags = "".join(f"  - {json.dumps(flag)}\n" for flag in given)
    return f"""\
command: [{program}]
args:
{flags}ports:
  - {{name: grpc, containerPort: {GRPC_PORT}}}
  - {{name: rest, containerPort: {REST_PORT}}}
# The status of a model is 200 also while it is being loaded, and of this probe only the code is seen. The metadata
# are 200 only if a version is AVAILABLE, and 404 before; the server's gRPC health does not look at the model.
startupProbe:
  httpGet: {{path: "{settings.url_path}/metadata", port: rest}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 300
# A server with all its threads at work answers late. It gets no more requests only if it has been silent for as long
# as a request may take; and there is no livenessProbe, so that it is not killed for its work.
readinessProbe:
  httpGet: {{path: "{settings.url_path}/metadata", port: rest}}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: {max(3, settings.timeout_seconds // 10)}
lifecycle:
  preStop:
    exec: {{command: [sleep, "{settings.drain_seconds}"]}}
resources:
  # No limit of cpu: a server that is held back in the midst of a token is slow for no gain.
  requests: {{cpu: "{NUM_CPUS}", memory: {settings.memory_mib}Mi}}
  limits: {{memory: {settings.memory_mib}Mi}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {{drop: [ALL]}}
volumeMounts:
  - {{name: models, mountPath: /models, readOnly: true}}
  # The whole folder, not its files: only so a change arrives without a restart.
  - {{name: config, mountPath: {CONFIG_FOLDER}, readOnly: true}}
"""


def _service(settings: Settings) -> str:
    name = settings.kubernetes_name
    return f"""\
# gRPC keeps one connection, to one server: clients that use it should balance themselves, or through a mesh.
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
    - {{name: grpc, port: {GRPC_PORT}, targetPort: grpc}}
    - {{name: rest, port: {REST_PORT}, targetPort: rest}}
"""


def _number(settings: Settings) -> str:
    name = settings.kubernetes_name
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
spec:
  minAvailable: 1
  selector:
    matchLabels: {{app: {name}}}
---
# By the requests that a server has, waiting or at work. It needs Prometheus and its adapter; README.md has the rule.
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: 2
  maxReplicas: 8
  metrics:
    - type: Pods
      pods:
        metric: {{name: {METRIC}}}
        target: {{type: AverageValue, averageValue: "{settings.num_threads // 2}"}}
  behavior:
    scaleDown: {{stabilizationWindowSeconds: {max(300, settings.drain_seconds)}}}
"""
