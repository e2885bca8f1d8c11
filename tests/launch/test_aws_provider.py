"""The AWS file's nodes, started by Ray's own provider in an EC2 that moto emulates in this process."""

import pytest
import yaml
from cluster_files import at_home, filled

boto3 = pytest.importorskip("boto3", reason="boto3, by which Ray reaches AWS, is not installed")
moto = pytest.importorskip("moto", reason="moto, which emulates EC2, is not installed")

REGION = "us-east-1"  # of the file


@pytest.fixture
def ec2(tmp_path, monkeypatch):
    """A client of an EC2 that has what the file's first lines tell a user to make."""
    at_home(tmp_path, monkeypatch)  # Ray writes its key pair below the home folder
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with moto.mock_aws():
        yield boto3.client("ec2", REGION)


@pytest.fixture
def config(ec2):
    """The file as `ray up` has it: filled in, completed, and bootstrapped by Ray's AWS provider."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.util import prepare_config, validate_config

    group = ec2.create_security_group(GroupName="hybridtune", Description="hybridtune")["GroupId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tree = yaml.safe_load(filled("aws"))
    iam = boto3.client("iam", REGION)
    for role, name in (("head", "head-profile"), ("worker", "worker-profile")):
        iam.create_instance_profile(InstanceProfileName=name)
        kinds = ["head"] if role == "head" else [kind for kind in tree["available_node_types"] if kind != "head"]
        for kind in kinds:
            node = tree["available_node_types"][kind]["node_config"]
            node |= {"ImageId": image, "SecurityGroupIds": [group], "IamInstanceProfile": {"Name": name}}
    prepared = prepare_config(tree)
    validate_config(prepared)
    return bootstrap_aws(prepared), {"image": image, "group": group}


@pytest.mark.slow
def test_every_node_type_of_the_aws_file_is_started_by_rays_own_provider(config, ec2):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    tree, made = config
    provider = AWSNodeProvider(tree["provider"], tree["cluster_name"])
    for kind, node in tree["available_node_types"].items():
        role = "head" if kind == "head" else "worker"
        tags = {
            "ray-node-type": role,
            "ray-user-node-type": kind,
            "ray-launch-config": "made-up",
            "ray-node-name": kind,
            "ray-node-status": "uninitialized",
        }
        [started] = provider.create_node(dict(node["node_config"]), tags, 1)
        [found] = ec2.describe_instances(InstanceIds=[started])["Reservations"][0]["Instances"]
        asked = node["node_config"]
        assert found["InstanceType"] == asked["InstanceType"]
        assert found["ImageId"] == made["image"]
        assert (found.get("InstanceLifecycle") == "spot") == kind.endswith("_spot")
        assert [one["GroupId"] for one in found["SecurityGroups"]] == [made["group"]]
        assert found["IamInstanceProfile"]["Arn"].endswith(f"/{role}-profile")
        [disk] = found["BlockDeviceMappings"]
        [volume] = ec2.describe_volumes(VolumeIds=[disk["Ebs"]["VolumeId"]])["Volumes"]
        assert (disk["DeviceName"], volume["Size"], volume["VolumeType"]) == ("/dev/sda1", 100, "gp3")
    workers = provider.non_terminated_nodes({"ray-node-type": "worker"})
    assert sorted(provider.node_tags(worker)["ray-user-node-type"] for worker in workers) == sorted(
        kind for kind in tree["available_node_types"] if kind != "head"
    )
    provider.terminate_nodes(workers)
    assert provider.non_terminated_nodes({"ray-node-type": "worker"}) == []
    ended = [one for found in ec2.describe_instances(InstanceIds=workers)["Reservations"] for one in found["Instances"]]
    assert {one["State"]["Name"] for one in ended} == {"terminated"}, "a stopped machine's disk costs on"
