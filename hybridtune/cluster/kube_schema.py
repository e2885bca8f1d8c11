"""The fields of KubeRay's RayCluster and RayJob (ray.io/v1, of KubeRay 1.6 and 1.7) as a JSON schema of our own.

Only what a user writes: no status, and pod templates are left to Kubernetes' own schemas. Source: KubeRay's API
reference and the validation of its operator.
"""

from collections.abc import Sequence
from typing import Any

_Schema = dict[str, Any]


def _mapping(required: Sequence[str] = (), /, **fields: _Schema) -> _Schema:
    """A mapping of these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _one_of(*values: str) -> _Schema:
    return {"enum": list(values)}


def _list(of: _Schema) -> _Schema:
    return {"type": "array", "items": of}


_TEXT: _Schema = {"type": "string"}
_TEXTS: _Schema = {"type": "object", "additionalProperties": _TEXT}
_YES_NO: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_NUMBER: _Schema = {"type": "number", "minimum": 0}
_OF_KUBERNETES: _Schema = {"type": "object"}
_LIST_OF_KUBERNETES: _Schema = _list(_OF_KUBERNETES)
_DELETE = _one_of("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
_MANAGER = _one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")

_AUTH = _mapping(mode=_one_of("disabled", "token"), secretName=_TEXT, enableK8sTokenAuth=_YES_NO)
_AUTOSCALER = _mapping(
    resources=_OF_KUBERNETES,
    image=_TEXT,
    imagePullPolicy=_one_of("Always", "IfNotPresent", "Never"),
    securityContext=_OF_KUBERNETES,
    idleTimeoutSeconds=_COUNT,
    upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
    version=_one_of("v1", "v2"),
    env=_LIST_OF_KUBERNETES,
    envFrom=_LIST_OF_KUBERNETES,
    volumeMounts=_LIST_OF_KUBERNETES,
    command=_list(_TEXT),
    args=_list(_TEXT),
)
_NETWORK_RULES = {"ingressRules": _LIST_OF_KUBERNETES, "egressRules": _LIST_OF_KUBERNETES}
_NETWORK = _mapping(
    mode=_one_of("DenyAll", "DenyAllIngress", "DenyAllEgress"),
    head=_mapping(**_NETWORK_RULES),
    worker=_mapping(**_NETWORK_RULES),
    workerGroups=_list(_mapping(["groupName"], groupName=_TEXT, **_NETWORK_RULES)),
)
_GROUP = {"resources": _TEXTS, "labels": _TEXTS, "rayStartParams": _TEXTS, "template": _OF_KUBERNETES}
_HEAD = _mapping(
    ["template"],
    headService=_OF_KUBERNETES,
    enableIngress=_YES_NO,
    ingressOptions=_OF_KUBERNETES,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    **_GROUP,
)
_WORKERS = _mapping(
    ["groupName", "template", "maxReplicas"],  # without a maximum, the API server fills in 2147483647
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts={"type": "integer", "minimum": 1},
    idleTimeoutSeconds=_COUNT,
    priority={"type": "integer"},
    suspend=_YES_NO,
    scaleStrategy=_mapping(workersToDelete=_list(_TEXT)),
    **_GROUP,
)
_CLUSTER = _mapping(
    ["headGroupSpec", "workerGroupSpecs"],
    rayVersion=_TEXT,
    headGroupSpec=_HEAD,
    workerGroupSpecs=_list(_WORKERS),
    enableInTreeAutoscaling=_YES_NO,
    autoscalerOptions=_AUTOSCALER,
    authOptions=_AUTH,
    networkPolicy=_NETWORK,
    tlsOptions=_OF_KUBERNETES,
    gcsFaultToleranceOptions=_OF_KUBERNETES,
    historyServerOptions=_OF_KUBERNETES,
    headServiceAnnotations=_TEXTS,
    upgradeStrategy=_mapping(type=_one_of("Recreate", "None")),
    managedBy=_MANAGER,
    suspend=_YES_NO,
)
_JOB = _mapping(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=_TEXT,
    rayClusterSpec=_CLUSTER,
    submitterPodTemplate=_OF_KUBERNETES,
    submitterConfig=_mapping(backoffLimit=_COUNT),
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    runtimeEnvYAML=_TEXT,
    jobId=_TEXT,
    metadata=_TEXTS,
    clusterSelector=_TEXTS,
    entrypointNumCpus=_NUMBER,
    entrypointNumGpus=_NUMBER,
    entrypointResources=_TEXT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    preRunningDeadlineSeconds=_COUNT,
    backoffLimit=_COUNT,
    shutdownAfterJobFinishes=_YES_NO,
    ttlSecondsAfterFinished=_COUNT,
    deletionStrategy=_mapping(
        onSuccess=_mapping(policy=_DELETE),
        onFailure=_mapping(policy=_DELETE),
        deletionRules={
            **_list(_mapping(["policy", "condition"], policy=_DELETE, condition=_OF_KUBERNETES)),
            "minItems": 1,
        },
    ),
    managedBy=_MANAGER,
    suspend=_YES_NO,
)


def _object(spec: _Schema) -> _Schema:
    return _mapping(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion=_one_of("ray.io/v1"),
        kind=_TEXT,
        metadata={"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
        spec=spec,
    )


SCHEMAS: dict[str, _Schema] = {"RayCluster": _object(_CLUSTER), "RayJob": _object(_JOB)}
